"""Citations in answers: `【cursor†La】` and `【cursor†La-Lb】`, as gpt-oss was trained to write them.

What they resolve to is the business of the tool that displayed the page; here is what an answer's reader
gets, and what keeps half a citation out of a stream.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

CITED_LINES = re.compile(r"L(\d{1,9})(?:[-–]L?(\d{1,9}))?")
_CITATION = re.compile(rf"【(\d{{1,9}})†{CITED_LINES.pattern}】")
_BEGUN = re.compile(r"【(?:\d{1,9}(?:†(?:L(?:\d{1,9}(?:[-–](?:L?\d{0,9})?)?)?)?)?)?\Z")


@dataclass(frozen=True)
class Citation:
    """A citation in an answer, resolved.

    `answer[start:end]` is the citation as it was written. `lines` are the first and the last line of the page
    at `url` that it names; None when the model cited the snippet of a search, not the page itself.
    """

    start: int
    end: int
    url: str
    title: str
    lines: tuple[int, int] | None
    type: Literal["url_citation"] = "url_citation"


@dataclass(frozen=True)
class Mark:
    """A citation as written: lines `first` to `last` of the page at `cursor`."""

    start: int
    end: int
    cursor: int
    first: int
    last: int


def marks_in(answer: str) -> Iterator[Mark]:
    """The citations of an answer, in order."""
    for found in _CITATION.finditer(answer):
        cursor, first, last = (int(group) if group else None for group in found.groups())
        if cursor is not None and first is not None:
            yield Mark(found.start(), found.end(), cursor, first, max(first, last or 0))


class WholeCitations:
    """A filter for an answer that streams: it holds back a citation until it is complete.

    The texts that come out, joined, are the texts that went in.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now that `text` has come."""
        text = self._held + text
        begun = _BEGUN.search(text)
        shown = text if begun is None else text[: begun.start()]
        self._held = text[len(shown) :]
        return shown

    def flush(self) -> str:
        """What is still held when nothing more comes."""
        held, self._held = self._held, ""
        return held
