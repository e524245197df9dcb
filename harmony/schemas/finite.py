"""What a regular expression spells, where that is little: the texts that match it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.schemas.patterns import Ranges

_BEGINNING: Final = -1
_END: Final = -2

Spelled = frozenset[tuple[int, ...]]
"""Code points, and where the expression asks for the beginning or the end."""

_NOTHING: Final[Spelled] = frozenset(((),))


def spelled(pieces: Sequence[str | Ranges], most: int) -> list[str] | None:
    """The texts for which an expression of these pieces holds, or None if they are more or not whole.

    >>> spelled(["^", ((97, 98),), "(", ((49, 49),), "|", ")", "$"], most=4)
    ['a', 'a1', 'b', 'b1']
    """
    whole = _alternatives(list(pieces), most)
    if whole is None:
        return None
    found = []
    for points in sorted(whole):
        inner = points[1:-1]
        if points[:1] != (_BEGINNING,) or points[-1:] != (_END,) or any(point < 0 for point in inner):
            return None
        found.append("".join(map(chr, inner)))
    return found


def _alternatives(waiting: list[str | Ranges], most: int) -> Spelled | None:
    """All ways through the pieces up to the end or the closing bracket, which are taken from `waiting`."""
    done, so_far = frozenset[tuple[int, ...]](), _NOTHING
    while waiting:
        piece = waiting.pop(0)
        if piece == ")":
            break
        if piece == "|":
            done, so_far = done | so_far, _NOTHING
            continue
        next_ = _atom(piece, waiting, most)
        if next_ is None:
            return None
        if waiting and waiting[0] == "?":
            waiting.pop(0)
            next_ |= _NOTHING
        so_far = frozenset(before + after for before in so_far for after in next_)
        if len(so_far) + len(done) > most:
            return None
    return done | so_far


def _atom(piece: str | Ranges, waiting: list[str | Ranges], most: int) -> Spelled | None:
    if isinstance(piece, tuple):
        if sum(high - low + 1 for low, high in piece) > most:
            return None
        return frozenset((code,) for low, high in piece for code in range(low, high + 1))
    if piece in ("(", "(?:"):
        return _alternatives(waiting, most)
    mark = {"^": _BEGINNING, "$": _END}.get(piece)
    return None if mark is None else frozenset(((mark,),))
