"""HTML as a page: one walk over lxml's tree writes the lines and numbers the links.

Rows of a table become lines with ` | ` between the cells: their width on paper means nothing to a model. What
a page hides from its readers (`hidden`, `display: none`) is not shown to the model either. Style sheets are
not read. Text goes through exactly one decoding of entities, the parser's: a second one would let a page
forge our markup with `&amp;#x3010;`.
"""

import re
from collections.abc import Iterator
from itertools import count

from lxml.etree import ErrorTypes, ParserError, iterwalk
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from harmony.tools.browser.addresses import domain, joined
from harmony.tools.browser.page import Link, Page, page_of
from harmony.tools.browser.text import disarmed, link_mark, one_line, visible, wrap

_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_APART = frozenset({"p", "pre", "blockquote", "table", "figure", "ul", "ol", "dl", "hr", *_HEADINGS})
_BLOCKS = _APART | {
    "address",
    "article",
    "aside",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "div",
    "dt",
    "fieldset",
    "figcaption",
    "footer",
    "form",
    "header",
    "hgroup",
    "html",
    "legend",
    "li",
    "main",
    "nav",
    "option",
    "section",
    "summary",
    "tbody",
    "tfoot",
    "thead",
    "tr",
}
_UNSEEN = frozenset(
    {"head", "script", "style", "template", "noscript", "svg", "iframe", "select", "audio", "video", "canvas"}
)
_RAISED = {"sup": "^{", "sub": "_{"}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_DEEPEST = 8


def read_html(source: str, url: str) -> Page:
    """The page that an HTML source shows; `url` is where it was found."""
    root, cut = _parsed(source)
    base = root.find(".//base[@href]")
    layout = _Layout(url, url if base is None else joined(url, base.get("href", "")) or url)
    lines = wrap(visible("\n".join(layout.lines_of(root))))
    if cut:
        lines.append("[The rest of this page is nested too deeply to be shown.]")
    return page_of(url, _title(root), lines, [Link(target) for target in layout.links])


def _parsed(source: str) -> tuple[HtmlElement, bool]:
    """The tree of a source, and whether the parser stopped where it was more than 2048 elements deep."""
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = document_fromstring(source.encode(errors="replace"), parser=parser)
    except ParserError:  # there is nothing in it
        return document_fromstring("<html></html>"), False
    return root, any(error.type == ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log)


def _title(root: HtmlElement) -> str:
    for tag in ("title", "h1"):
        found = next(root.iter(tag), None)
        if found is not None and (title := one_line(found.text_content())):
            return title
    return ""


class _Layout:
    """The lines of an element, block by block, with the links met on the way.

    A link's own text is laid out by another, without links, which goes on counting the `images`.
    """

    def __init__(self, url: str, base: str, images: Iterator[int] | None = None) -> None:
        self.links: dict[str, int] = {}
        self._here = domain(url)
        self._url, self._base = url, base
        self._in_link = images is not None
        self._images = images or count()
        self._lines: list[str] = []
        self._pieces: list[str] = []
        self._bullet = ""
        self._lists: list[int | None] = []  # the number of the last item; None in a list without numbers
        self._preformatted = 0
        self._gap = False

    def lines_of(self, root: HtmlElement) -> list[str]:
        self._show(root)
        self._break()
        return self._lines

    def _show(self, root: HtmlElement) -> None:
        done = None
        walk = iterwalk(root, events=("start", "end"))  # trees are deeper than Python's stack
        for event, element in walk:
            if event == "end":
                if element is not done:
                    self._close(element)
                if element is not root:
                    self._write(element.tail)
            elif self._is_done_with(element):
                done = element
                walk.skip_subtree()
            else:
                self._open(element)
                self._write(element.text)

    def _is_done_with(self, element: HtmlElement) -> bool:
        """Whether nothing below an element is to be shown, or all of it has been written."""
        tag = element.tag
        if tag in _UNSEEN or element.get("hidden") is not None or _HIDDEN.search(element.get("style", "")):
            return True
        if tag == "a":
            return not self._in_link and self._write_link(element)
        if tag == "img":
            self._write_image(element)
        elif tag == "math":
            tex = element.get("alttext")
            self._write(f"${tex}$" if tex else element.text_content())
            return True
        return False

    def _open(self, element: HtmlElement) -> None:
        tag = element.tag
        if tag in _BLOCKS:
            self._break(gap=tag in _APART and not self._lists)
        if tag in _HEADINGS:
            self._pieces.append(_HEADINGS[tag])
        elif tag in _RAISED:
            self._pieces.append(_RAISED[tag])
        elif tag == "br":
            self._break(gap=not self._pieces)
        elif tag in ("td", "th") and element.getprevious() is not None:
            self._pieces.append(" | ")
        elif tag in ("ul", "ol"):
            self._lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._bullet = self._next_bullet()
        elif tag == "pre":
            self._preformatted += 1

    def _close(self, element: HtmlElement) -> None:
        tag = element.tag
        if tag in _RAISED:
            self._pieces.append("}")
        elif tag in _BLOCKS:
            self._break()
            if tag == "pre":
                self._preformatted -= 1
            elif tag in ("ul", "ol"):
                self._lists.pop()
            self._gap = self._gap or (tag in _APART and not self._lists)

    def _write(self, text: str | None) -> None:
        if text:
            self._pieces.append(disarmed(text))

    def _write_link(self, anchor: HtmlElement) -> bool:
        """Write a link and number it; False for one that leads nowhere, or where no link can be opened."""
        target = joined(self._base, anchor.get("href", ""))
        if target is None:
            return False
        if len(anchor):
            text = " ".join(_Layout(self._url, self._base, self._images).lines_of(anchor))
        else:
            text = anchor.text or ""
        if text := one_line(text):
            there = domain(target)
            number = self.links.setdefault(target, len(self.links))
            self._pieces.append(link_mark(number, text, there if there != self._here else None))
        return True

    def _write_image(self, image: HtmlElement) -> None:
        """`[Image n: alt]`; nothing for an image that the page calls decoration."""
        name = image.get("alt", image.get("title"))
        if name != "":
            number = next(self._images)
            self._pieces.append(f"[Image {number}: {one_line(name)}]" if name else f"[Image {number}]")

    def _next_bullet(self) -> str:
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "* "
        self._lists[-1] = number + 1
        return f"{number + 1}. "

    def _break(self, *, gap: bool = False) -> None:
        """End the line; before the next one, a blank line if there is a gap."""
        written = "".join(self._pieces)
        self._pieces.clear()
        if self._preformatted:
            lines = [line.rstrip() for line in written.strip("\n").split("\n")]
        else:
            lines = [" ".join(written.split())]
        if any(line.strip(" |") for line in lines):
            if self._gap and self._lines:
                self._lines.append("")
            indent = "  " * min(len(self._lists) - 1, _DEEPEST) + self._bullet
            self._lines += [indent + lines[0], *lines[1:]]
            self._gap, self._bullet = False, ""
        self._gap = self._gap or gap
