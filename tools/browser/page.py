"""What a cursor stands for: a page as it was when it was displayed, which never changes afterwards."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harmony.tools.browser.addresses import name
from harmony.tools.browser.text import numbered, one_line, shortened

LONGEST_TITLE = 300
_LONGEST_URL = 1024
_DISPLAYED = re.compile(r"\[(\d{1,9})\] ")


@dataclass(frozen=True)
class Source:
    """Where a line comes from: the page at `url`, and the line there (None for the snippet of a search)."""

    url: str
    title: str
    line: int | None


@dataclass(frozen=True)
class Cited:
    """What a citation leads to: a page, and the first and last line of it."""

    url: str
    title: str
    lines: tuple[int, int] | None


@dataclass(frozen=True)
class Link:
    """Where a link leads: an address to fetch, or a line of a page that is at hand."""

    target: "str | Page"
    line: int = 0

    @property
    def url(self) -> str:
        """The address."""
        return self.target.url if isinstance(self.target, Page) else self.target


@dataclass(frozen=True)
class Page:
    """Clean, wrapped lines with their links, by id.

    `sources` says for each line of a search or find page where it comes from; None where line i is simply
    line i of `url`.
    """

    url: str
    title: str
    lines: tuple[str, ...]
    links: tuple[Link, ...] = ()
    sources: tuple[Source | None, ...] | None = None

    def source(self, line: int) -> Source | None:
        """Where a line comes from; None for a line that is ours, such as a heading of search results."""
        if self.sources is None:
            return Source(self.url, self.title, line)
        return self.sources[line]

    def cited(self, first: int, last: int) -> Cited | None:
        """What lines stand for; where they come from several pages, the first of those."""
        sources = [
            source for line in range(first, min(last + 1, len(self.lines))) if (source := self.source(line))
        ]
        if not sources:
            return None
        url, title = sources[0].url, sources[0].title
        lines = [source.line for source in sources if source.url == url and source.line is not None]
        return Cited(url, title, (min(lines), max(lines)) if lines else None)

    def display(self, cursor: int, first: int, end: int) -> str:
        """Lines `first` to `end` (exclusive) as the model reads them, under the cursor, title and address."""
        address = f" ({shown_url(self.url)})" if self.url else ""
        view = f"viewing lines [{first} - {end - 1}] of {len(self.lines) - 1}"
        return f"[{cursor}] {self.title}{address}\n**{view}**\n\n{numbered(self.lines[first:end], first)}"


def cursor_of(display: str) -> int | None:
    """The cursor under which a text displays a page; None if it displays none."""
    found = _DISPLAYED.match(display)
    return found and int(found[1])


FORGOTTEN = Page("", "A page that is gone", ("Search for it again.",), sources=(None,))
"""What a cursor stands for whose page was not kept; nothing can be cited of it."""


def page_of(url: str, title: str, lines: Sequence[str], links: Sequence[Link] = ()) -> Page:
    """A page with at least one line; its title is the name in its address where it has none."""
    return Page(
        url, shortened(one_line(title) or name(url), LONGEST_TITLE), tuple(lines) or ("",), tuple(links)
    )


def shown_url(url: str) -> str:
    """An address as it may stand in a text: clean, on one line, and not endless."""
    return shortened(one_line(url), _LONGEST_URL)
