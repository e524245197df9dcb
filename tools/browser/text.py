"""Page text as the model reads it: clean, wrapped at 80 columns, lines numbered from 0.

Pages are untrusted. Only this package writes `【`, `】` and `†`, in the links that it numbers itself; in the
text of a page they become look-alikes, so that no page can forge a link or a citation. What a reader would
not see goes: control characters, direction overrides, zero-width and tag characters; emoji keep theirs.
"""

import re
from collections.abc import Iterable, Sequence

from harmony import load_encoding
from harmony.tools.citations import CITED_LINES

WIDTH = 80

_MARKUP = str.maketrans("【】†", "〖〗‡")
_LINE_END = re.compile(r"[\r\x0b\x0c\x85\u2028\u2029]\n?")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff]"
)
_TAG = re.compile(r"(\U0001F3F4[\U000E0020-\U000E007E]{1,16}\U000E007F)|[\U000E0000-\U000E007F]")
_PIECE = re.compile(rf".{{1,{WIDTH}}}(?:\s+|$)|.{{{WIDTH}}}")
_LINK = re.compile(r"【([\d\n]+†)([^†】]*)((?:†[^】]*)?)】")


def clean(text: str) -> str:
    """Text without anything that could pass for our markup or that a reader would not see."""
    return disarmed(visible(text))


def disarmed(text: str) -> str:
    """Text in which look-alikes stand for the characters of our markup."""
    return text.translate(_MARKUP) if "【" in text or "】" in text or "†" in text else text


def visible(text: str) -> str:
    """Text with one kind of line end and of space, and without characters that a reader would not see."""
    text = _UNSEEN.sub("", _LINE_END.sub("\n", text).replace("\xa0", " "))
    return text if text.isascii() else _TAG.sub(lambda found: found[1] or "", text)  # a flag keeps its tags


def one_line(text: str) -> str:
    """Clean text with every run of white space as one space."""
    return " ".join(clean(text).split())


def shortened(text: str, most: int) -> str:
    """The text, or its first `most` characters with the last one an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def wrap(text: str) -> list[str]:
    """The lines of clean text, none longer than 80 characters; a word that is longer is cut."""
    lines: list[str] = []
    for line in text.split("\n"):
        line = line.expandtabs(4).rstrip()
        if len(line) <= WIDTH:
            lines.append(line)
        else:
            lines += [piece for found in _PIECE.findall(line) if (piece := found.rstrip())]
    return lines


def numbered(lines: Iterable[str], first: int) -> str:
    """Lines with their numbers, from `first` on."""
    return "\n".join(f"L{number}: {line}" for number, line in enumerate(lines, first))


def view_end(lines: Sequence[str], first: int, tokens: int) -> int:
    """The end of a view that starts at line `first`: `tokens` of numbered text, up to a whole line.

    Tokens are those of o200k_base. At least one line is shown.
    """
    encoding = load_encoding()
    taken = 8 * tokens  # characters that are more than enough for ordinary text
    end = first
    while end < len(lines):
        size = 0
        while end < len(lines) and size < taken:
            size += len(lines[end]) + 5
            end += 1
        shown = encoding.encode(numbered(lines[first:end], first), disallowed_special=())
        if len(shown) > tokens:
            return first + encoding.decode(shown[:tokens]).count("\n") + 1
    return end


def link_mark(number: int, text: str, domain: str | None = None) -> str:
    """A link as the model reads it; `text` and `domain` are clean.

    A text such as L3, with which the link would be a citation, is put in quotation marks.
    """
    if CITED_LINES.fullmatch(text):
        text = f"“{text}”"
    return f"【{number}†{text}†{domain}】" if domain else f"【{number}†{text}】"


def without_links(lines: Sequence[str]) -> list[str]:
    """The lines with each link as its bare text; a link may go over several lines, their number stays."""
    return _LINK.sub(_link_text, "\n".join(lines)).split("\n")


def _link_text(match: re.Match[str]) -> str:
    before, text, after = match.groups()
    return "\n" * before.count("\n") + text + "\n" * after.count("\n")
