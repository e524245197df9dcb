"""Pages that are made here: what a search found, and where a page holds a pattern."""

from collections.abc import Sequence
from urllib.parse import quote

from harmony.tools.browser.addresses import domain
from harmony.tools.browser.backend import Result
from harmony.tools.browser.page import LONGEST_TITLE, Link, Page, Source, shown_url
from harmony.tools.browser.text import link_mark, one_line, shortened, without_links, wrap

MATCHES = 50
MATCH_LINES = 4
_LONGEST_SNIPPET = 1000


def search_page(query: str, results: Sequence[Result]) -> Page:
    """A list of results; a citation of one leads to the page that was found."""
    lines = ["# Search Results", ""]
    sources: list[Source | None] = [None, None]
    for number, result in enumerate(results):
        title = shortened(one_line(result.title) or shown_url(result.url), LONGEST_TITLE)
        snippet = shortened(one_line(result.snippet), _LONGEST_SNIPPET)
        shown = wrap(f"  * {link_mark(number, title, domain(result.url))} {snippet}")
        lines += shown
        sources += [Source(result.url, title, None)] * len(shown)
    if not results:
        lines.append("Nothing was found. Try fewer or other words.")
        sources.append(None)
    links = tuple(Link(result.url, result.line) for result in results)
    return Page("", shortened(one_line(query), LONGEST_TITLE), tuple(lines), links, tuple(sources))


def find_page(page: Page, pattern: str) -> Page:
    """The lines of a page that hold `pattern` in any case, each with the lines after it.

    A citation leads to the line in the page itself, and so do the links.
    """
    plain = without_links(page.lines)
    wanted = pattern.casefold()
    lines: list[str] = []
    sources: list[Source | None] = []
    links: list[Link] = []
    at = 0
    while at < len(plain) and len(links) < MATCHES:
        if wanted not in plain[at].casefold():
            at += 1
            continue
        end = min(at + MATCH_LINES, len(plain))
        if links:
            lines.append("")
            sources.append(None)
        lines += [f"# {link_mark(len(links), f'match at L{at}')}", *plain[at:end]]
        sources += [page.source(at), *map(page.source, range(at, end))]
        links.append(Link(page, at))
        at = end
    shown = shortened(one_line(pattern), LONGEST_TITLE)
    if not links:
        lines.append(f"No `find` results for pattern: `{shown}`")
        sources.append(None)
    url = f"{page.url}/find?pattern={quote(pattern)}"
    return Page(
        url, f"Find results for text: `{shown}` in `{page.title}`", tuple(lines), tuple(links), tuple(sources)
    )
