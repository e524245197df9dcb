"""Texts with special tokens in them as strings of letters: a letter for each byte, and one for each token."""

import re
from collections.abc import Mapping
from typing import Final

_OCTETS: Final = 256
_NAMES: Final = re.compile(r"(<\|[^|]*\|>)")
_TEXT: Final = re.compile(r"[\0-\xff]+")
_PIECES: Final = re.compile(r"[\0-\xff]+|.", re.S)


def letters(piece: str | bytes | int) -> str:
    """The letters of a text, or the one of a special token by its id."""
    if isinstance(piece, int):
        return chr(_OCTETS + piece)
    return (piece.encode() if isinstance(piece, str) else piece).decode("latin-1")


def spelled(words: str, special: Mapping[str, int]) -> str:
    """The letters of a text in which special tokens stand by their names."""
    return "".join(letters(special.get(piece, piece)) for piece in _NAMES.split(words))


def pieces(written: str) -> list[str | int]:
    """The texts and special tokens in letters; raises UnicodeDecodeError for half a character."""
    return [
        piece.encode("latin-1").decode() if ord(piece[0]) < _OCTETS else ord(piece) - _OCTETS
        for piece in _PIECES.findall(written)
    ]


def text_before(written: str) -> str:
    """The letters before the first one of a special token."""
    text = _TEXT.match(written)
    return text[0] if text else ""


def special_first(written: str) -> int | None:
    """The special token that letters begin with, if it is one."""
    token = ord(written[0]) - _OCTETS
    return token if token >= 0 else None
