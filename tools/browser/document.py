"""What a back end fetches, and how each kind of it becomes a page."""

import re
from dataclasses import dataclass

from harmony.tools.browser.addresses import name
from harmony.tools.browser.html import read_html
from harmony.tools.browser.markup import read_markdown, read_rst, read_text
from harmony.tools.browser.page import Page, page_of
from harmony.tools.browser.pdf import read_pdf
from harmony.tools.browser.text import clean, wrap

HTML, XHTML, PDF = "text/html", "application/xhtml+xml", "application/pdf"
MARKDOWN, RST, PLAIN = "text/markdown", "text/x-rst", "text/plain"

_STRUCTURED = re.compile(r"application/(?:[\w.-]+\+)?(?:json|xml|yaml)")
_DECLARED = re.compile(
    rb"<(?:meta|\?xml)[^>]{1,200}?(?:charset|encoding)\s*=\s*[\"']?([\w-]{1,40})", re.IGNORECASE
)


@dataclass(frozen=True)
class Document:
    """The bytes found at `url`, with their media type (lower case, no parameters) and declared charset."""

    url: str
    body: bytes
    media_type: str
    charset: str | None = None

    @property
    def text(self) -> str:
        """The body decoded: as declared, else as UTF-8, else as it declares itself, else as Windows-1252."""
        declared = _DECLARED.search(self.body[:2048])
        for charset in (self.charset, "utf-8-sig", declared and declared[1].decode("ascii", "replace")):
            try:
                if charset:
                    return self.body.decode(charset)
            except (UnicodeError, LookupError):
                continue
        return self.body.decode("cp1252", "replace")


def is_readable(media_type: str) -> bool:
    """Whether a page can be made of this kind of document."""
    return (
        media_type.startswith("text/")
        or media_type in (XHTML, PDF)
        or bool(_STRUCTURED.fullmatch(media_type))
    )


def read(document: Document, *, source: bool = False) -> Page:
    """The page of a document; with `source`, its text as it was fetched. Raises ToolError."""
    url = document.url
    if document.media_type == PDF:
        return read_pdf(document.body, url)
    text = document.text
    if source:
        return page_of(url, f"Source of {name(url)}", wrap(clean(text)))
    return _READERS.get(document.media_type, read_text)(text, url)


_READERS = {HTML: read_html, XHTML: read_html, MARKDOWN: read_markdown, RST: read_rst}
