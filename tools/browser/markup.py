"""Markdown, reStructuredText and plain text as pages: lines as written, links as the model opens them."""

import re

from harmony.tools.browser.addresses import domain, joined
from harmony.tools.browser.page import Link, Page, page_of
from harmony.tools.browser.text import clean, link_mark, one_line, wrap

# No repetition holds what starts or ends its pattern, so that a search takes time linear in the text.
_MARKDOWN = re.compile(
    r"^(?P<fence>```|~~~)[\s\S]*?^(?P=fence)|`[^`\n]+`"
    r"|!\[(?P<image>[^\[\]\n]*)\]\([^()\n]*\)"
    r"|\[(?P<text>[^\[\]\n]+)\]\((?P<target>[^()\s]+)(?: [^()\n]*)?\)"
    r"|<(?P<address>https?://[^<>\s]+)>",
    re.MULTILINE,
)
_RST = re.compile(r"``[^`\n]+``|`(?P<text>[^`<>\n]+)<(?P<target>[^`<>\s]+)>`__?")
_MARKDOWN_TITLE = re.compile(r"^#{1,2} +(\S.*)", re.MULTILINE)
_RST_TITLE = re.compile(r"^(\S.*)\n(?:={3,}|-{3,})$", re.MULTILINE)


def read_markdown(source: str, url: str) -> Page:
    """Markdown: its inline links, autolinks and images are marked; code stays as it is."""
    return _read(source, url, _MARKDOWN_TITLE, _MARKDOWN)


def read_rst(source: str, url: str) -> Page:
    """reStructuredText: its inline links are marked."""
    return _read(source, url, _RST_TITLE, _RST)


def read_text(source: str, url: str) -> Page:
    """Anything else that is text, as it is."""
    return page_of(url, "", wrap(clean(source).rstrip("\n")))


def _read(source: str, url: str, heading: re.Pattern[str], pattern: re.Pattern[str]) -> Page:
    title = heading.search(source)
    here = domain(url)
    links: dict[str, int] = {}
    images = 0

    def marked(found: re.Match[str]) -> str:
        nonlocal images
        part = found.groupdict()
        if (image := part.get("image")) is not None:
            images += 1
            return f"[Image {images - 1}: {image}]" if image else f"[Image {images - 1}]"
        reference = part["target"] or part.get("address")
        text = one_line(part["text"] or reference or "")
        target = joined(url, reference) if reference and text else None
        if target is None:
            return part["text"] or found[0]
        number = links.setdefault(target, len(links))
        there = domain(target)
        return link_mark(number, text, there if there != here else None)

    text = pattern.sub(marked, clean(source).rstrip("\n"))
    return page_of(
        url, title[1].rstrip(" #") if title else "", wrap(text), [Link(target) for target in links]
    )
