"""PDF as a page: the text of each of its pages, under `[Page n]`."""

import logging
import time
from io import BytesIO

from pypdf import PdfReader

from harmony.errors import ToolError
from harmony.tools.browser.page import Page, page_of
from harmony.tools.browser.text import clean, wrap

SECONDS = 20.0

logging.getLogger("pypdf").addHandler(logging.NullHandler())  # its warnings are not for the user


def read_pdf(body: bytes, url: str, *, seconds: float = SECONDS) -> Page:
    """The page that a PDF is; what takes longer than `seconds` to read is left out.

    Raises ToolError for one that is broken or needs a password.
    """
    deadline = time.monotonic() + seconds
    parts = []
    try:
        reader = PdfReader(BytesIO(body))
        title = reader.metadata.title if reader.metadata else None
        for number, page in enumerate(reader.pages, start=1):
            parts.append(f"[Page {number}]\n\n{clean(page.extract_text()).strip()}")
            if time.monotonic() > deadline and (left := len(reader.pages) - number):
                parts.append(f"[{left} more pages took too long to read.]")
                break
    except Exception as error:  # a broken file can fail anywhere in pypdf, with any exception
        raise ToolError(f"The PDF cannot be read ({type(error).__name__}).") from error
    return page_of(url, title or "", wrap("\n\n".join(parts)))
