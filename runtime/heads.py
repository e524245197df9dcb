"""A few short texts, such as the headers of messages: places in them, each worked out once.

What may follow depends on what is written and not on how it was cut into tokens, so a place is known by its
text; generations share it, and going on, going back and copying cost next to nothing.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product, takewhile
from typing import TYPE_CHECKING, Final

import numpy as np

from harmony.runtime.letters import ahead, letters, pieces, spelled
from harmony.runtime.token_table import WORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harmony.runtime.matcher import Row
    from harmony.runtime.token_table import TokenTable

    Header = Sequence[Sequence[Sequence[str]]]
    """The orders of a head: what may stand at each of its places, special tokens by their names."""

    Rest = tuple[str, str]
    """What may follow of a head, in letters, and the name of what it opens."""

_MOST = 10_000
"""The places that are kept; only who tries all ways to spell many names sees more."""

_LOOKED_BACK: Final = 4
"""How many forced tokens might be written otherwise with what follows."""


class Heads:
    """The texts of `headers`, each of which opens what it is named after by the special token `opening`.

    All begin with the words `begun`, special tokens by their names.
    """

    def __init__(self, table: TokenTable, headers: Mapping[str, Header], begun: str, opening: int) -> None:
        self.table = table
        self._places: dict[str, Place] = {}
        self._headers = headers
        self._begun = spelled(begun, table.special)
        self._end = letters(opening)
        texts = [*self._texts()]
        self.begun = Place(self, self._begun, texts)
        self.start = Place(self, "", [(self._begun + text, name) for text, name in texts])

    def place(self, written: str, rests: Sequence[Rest], last: int) -> Place:
        """That behind what is written, to which the token `last` led first."""
        if written not in self._places:
            if len(self._places) >= _MOST:
                self._places.clear()
            self._places[written] = Place(self, written, rests, last)
        return self._places[written]

    def _texts(self) -> Iterator[Rest]:
        """The texts behind what is begun."""
        known: dict[str, str] = {}
        for name, orders in self._headers.items():
            for order in orders:
                for words in product(*order):
                    for word in words:
                        if word not in known:
                            known[word] = spelled(word, self.table.special)
                    yield "".join([*[known[word] for word in words], self._end]), name


class Place:
    """A place in the texts of `heads`, of which any of the `rests` may follow."""

    def __init__(self, heads: Heads, written: str, rests: Sequence[Rest], last: int | None = None) -> None:
        self.rests = rests
        self._heads = heads
        self._table = heads.table
        self._written = written
        self._last = last
        self._next: dict[int, Place | None] = {}

    @property
    def is_end(self) -> bool:
        """Whether nothing may follow."""
        return not self.rests[0][0]

    @cached_property
    def only(self) -> str | None:
        """The name of what is opened, if it is the same whatever follows."""
        names = {name for _, name in self.rests}
        return names.pop() if len(names) == 1 else None

    def after(self, token: int) -> Place | None:
        """Where a token leads, None if it may not follow."""
        if token not in self._next:
            tokens = self._table.tokens
            read = letters(tokens[token] if token < len(tokens) else token)
            rests = [(rest[len(read) :], name) for rest, name in self.rests if rest.startswith(read)]
            self._next[token] = self._heads.place(self._written + read, rests, token) if rests else None
        return self._next[token]

    @cached_property
    def forced(self) -> list[int]:
        """The tokens that must come next, without those that might be written otherwise with what follows."""
        certain = _common(rest for rest, _ in self.rests)
        tokens: list[int] = []
        try:
            for piece in pieces(certain):
                last = tokens[-1] if tokens else self._last
                tokens += [piece] if isinstance(piece, int) else self._encoded(piece, last)
        except UnicodeDecodeError:  # the texts part within a character
            return []
        return tokens[: len(tokens) - self._open(tokens, len(certain))]

    def _encoded(self, text: str, last: int | None) -> list[int]:
        """The tokens of a text, those that it has behind the `last` token if that is left as it is."""
        tokens = self._table.tokens
        if last is not None and last < len(tokens):
            together = self._table.encode((tokens[last] + text.encode()).decode())
            if together[0] == last:
                return together[1:]
        return self._table.encode(text)

    def _open(self, tokens: Sequence[int], certain: int) -> int:
        """How many of the last tokens, which are `certain` letters, may be part of longer ones."""
        following = _beginnings({ahead(rest[certain:]) for rest, _ in self.rests if rest[certain:]})
        written, count = b"", 0
        for number, token in enumerate(reversed(tokens[-_LOOKED_BACK:] if following else ()), 1):
            if token >= len(self._table.tokens):
                break
            text = self._table.tokens[token]
            written = text + written
            ends = [written[start:] for start in range(len(text))]
            if any(end + more in self._table.ids for end in ends for more in following):
                count = number
        return count

    def fill(self, row: Row) -> None:
        """Write which tokens may follow."""
        words, bits = self._allowed
        row.mask.fill(0)
        row.mask[words] = bits

    @cached_property
    def _allowed(self) -> tuple[np.ndarray, np.ndarray]:
        """The words of the mask that are not zero, and their places; few tokens may follow in a head."""
        words: dict[int, int] = {}
        for token in self.forced[:1] or self._tokens():
            words[token // WORD] = words.get(token // WORD, 0) | 1 << token % WORD
        return np.array([*words], np.int64), np.array([*words.values()], np.uint32).view(np.int32)

    def _tokens(self) -> set[int]:
        """The tokens that may follow."""
        ids = self._table.ids
        following = {ahead(rest) for rest, _ in self.rests}
        special = {token for token in following if isinstance(token, int)}
        return special | {ids[text] for text in _beginnings(following) if text in ids}


class HeadMatcher:
    """Follows a head from a place to its end, where it stops."""

    compiled = None

    def __init__(self, place: Place, failure: str | None = None) -> None:
        self.place = place
        self.failure = failure

    @property
    def stopped(self) -> bool:
        return self.place.is_end

    def fill(self, row: Row) -> None:
        self.place.fill(row)

    def consume(self, token: int) -> bool:
        place = self.place.after(token)
        if place is None:
            self.failure = f"token {token} may not follow in a head"
            return False
        self.place = place
        return True

    def validate(self, tokens: Sequence[int]) -> int:
        place = self.place
        for count, token in enumerate(tokens):
            following = place.after(token)
            if following is None:
                return count
            place = following
        return len(tokens)

    def forced(self) -> list[int]:
        return self.place.forced

    def copy(self) -> HeadMatcher:
        return HeadMatcher(self.place, self.failure)


def _common(texts: Iterable[str]) -> str:
    """The longest beginning that all texts have."""
    known = [*texts]
    pairs = zip(min(known), max(known), strict=False)
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _beginnings(following: Iterable[bytes | int]) -> set[bytes]:
    """All beginnings of the texts among what may follow."""
    texts = (text for text in following if isinstance(text, bytes))
    return {text[:end] for text in texts for end in range(1, len(text) + 1)}
