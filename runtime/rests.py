"""What may follow in texts of which there are many: alternatives behind alternatives, which the texts share.

Texts are strings of letters, as `harmony.runtime.letters` spells them.
"""

from __future__ import annotations

from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from harmony.runtime.letters import text_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Tail:
    """Texts: one of the `words` and, unless it is None, one of those `behind`."""

    def __init__(self, words: tuple[str, ...], behind: Tail | None) -> None:
        self.words = words
        self.behind = behind

    @cached_property
    def shortest(self) -> str:
        """The shortest of the texts."""
        return min(self.words, key=len) + (self.behind.shortest if self.behind else "")

    @cached_property
    def first(self) -> str:
        """The first of the texts in the order of their letters."""
        behind = self.behind.first if self.behind else ""
        return min(word + behind for word in self.words)

    @cached_property
    def last(self) -> str:
        """The last of the texts in the order of their letters."""
        behind = self.behind.last if self.behind else ""
        return max(word + behind for word in self.words)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """What the texts begin with before their first special token; it may be empty."""
        return frozenset(text for word in self.words for text in _begun(word, self.behind))


class Rest(NamedTuple):
    """What may follow up to the end of texts that open `name`: the letters, then one of a tail."""

    letters: str
    tail: Tail | None
    name: str

    @property
    def shortest(self) -> str:
        """The shortest of it."""
        return self.letters + (self.tail.shortest if self.tail else "")


def following(rests: Iterable[Rest], read: str) -> list[Rest]:
    """What may follow after `read`, each with a letter of its own unless it is the end."""
    found: list[Rest] = []
    for letters, tail, name in rests:
        if letters.startswith(read) and (tail is None or letters != read):
            found.append(Rest(letters[len(read) :], tail, name))
        elif tail is not None and read.startswith(letters):
            opened = [Rest(word, tail.behind, name) for word in tail.words]
            found += following(opened, read[len(letters) :])
    return found


def certain(rests: Sequence[Rest]) -> str:
    """The longest beginning that all have."""
    if any(rest.letters[:1] != rests[0].letters[:1] for rest in rests):
        return ""
    first = min(letters + (tail.first if tail else "") for letters, tail, _ in rests)
    last = max(letters + (tail.last if tail else "") for letters, tail, _ in rests)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same)


def beginnings(rests: Iterable[Rest]) -> set[str]:
    """What may come before the next special token, whole and in part; no part is empty."""
    found: set[str] = set()
    for text in {text for letters, tail, _ in rests for text in _begun(letters, tail)}:
        for end in range(len(text), 0, -1):
            if (part := text[:end]) in found:
                break  # and so are those of the part
            found.add(part)
    return found


def _begun(word: str, tail: Tail | None) -> Iterable[str]:
    """What a word and its tail begin with before their first special token."""
    text = text_before(word)
    if len(text) < len(word) or tail is None:
        return (text,)
    return (text + more for more in tail.beginnings)
