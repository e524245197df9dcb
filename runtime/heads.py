"""A few short texts, such as the headers of messages: places in them, each worked out once.

What may follow depends on what is written and not on how it was cut into tokens, so a place is known by its
text; generations share it, and going on, going back and copying cost next to nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from harmony.runtime.letters import letters, pieces, special_first, spelled
from harmony.runtime.rests import Rest, Tail, beginnings, certain, following
from harmony.runtime.token_table import WORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from harmony.runtime.matcher import Row
    from harmony.runtime.token_table import Mask, TokenTable

    Header = Sequence[Sequence[Sequence[str]]]
    """The orders of a head: what may stand at each of its places, special tokens by their names."""

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
        self._end = Tail((letters(opening),), None)
        self._tails: dict[tuple[tuple[str, ...], Tail], Tail] = {}
        self._spelled: dict[str, str] = {}
        rests = following(self._rests(headers), "")
        written = self._letters(begun)
        self.begun = Place(self, written, rests)
        self.start = Place(self, "", [Rest(written + rest, tail, name) for rest, tail, name in rests])

    def behind(self, place: Place, read: str, last: int | None) -> Place | None:
        """That behind a place and what is read there, the token `last`; None if it may not follow."""
        written = place.written + read
        if (found := self._places.get(written)) is None:
            if not (rests := following(place.rests, read)):
                return None
            if len(self._places) >= _MOST:
                self._places.clear()
            found = self._places[written] = Place(self, written, rests)
        if found.last is None:
            found.last = last
        return found

    def _rests(self, headers: Mapping[str, Header]) -> Iterator[Rest]:
        """The texts behind what is begun."""
        for name, orders in headers.items():
            for order in orders:
                tail = self._end
                for words in reversed(order[1:]):
                    tail = self._tail(tuple(words), tail)
                for word in order[0]:
                    yield Rest(self._letters(word), tail, name)

    def _tail(self, words: tuple[str, ...], tail: Tail) -> Tail:
        """These words before a tail, the same one for all headers that have them."""
        if (words, tail) not in self._tails:
            self._tails[words, tail] = Tail(tuple(map(self._letters, words)), tail)
        return self._tails[words, tail]

    def _letters(self, words: str) -> str:
        if words not in self._spelled:
            self._spelled[words] = spelled(words, self.table.special)
        return self._spelled[words]


class Place:
    """A place in the texts of `heads`, of which any of the `rests` may follow.

    `last` is the token that led here first, if any did.
    """

    def __init__(self, heads: Heads, written: str, rests: Sequence[Rest]) -> None:
        self.written = written
        self.rests = rests
        self.last: int | None = None
        self._heads = heads
        self._table = heads.table
        self._next: dict[int, Place | None] = {}

    @property
    def is_end(self) -> bool:
        """Whether nothing may follow."""
        return not self.rests[0].letters

    @cached_property
    def only(self) -> str | None:
        """The name of what is opened, if it is the same whatever follows."""
        names = {rest.name for rest in self.rests}
        return names.pop() if len(names) == 1 else None

    def opened(self, tokens: Sequence[int]) -> str:
        """The name of what is opened behind these tokens, with which the head ends."""
        place: Place | None = self
        for token in tokens:
            place = place and place.after(token)
        assert place is not None, "the tokens may not follow"
        assert place.only is not None, "two heads are the same"
        return place.only

    def after(self, token: int) -> Place | None:
        """Where a token leads, None if it may not follow."""
        if token not in self._next:
            tokens = self._table.tokens
            read = letters(tokens[token] if token < len(tokens) else token)
            self._next[token] = self._heads.behind(self, read, token)
        return self._next[token]

    def behind(self, read: str) -> Place | None:
        """Where letters lead, however they are cut into tokens; None if they may not follow."""
        return self._heads.behind(self, read, None)

    @cached_property
    def shortest(self) -> dict[str, str]:
        """The shortest of what may follow for each thing that may be opened, in letters."""
        shortest: dict[str, str] = {}
        for rest in self.rests:
            letters = rest.shortest
            if rest.name not in shortest or len(letters) < len(shortest[rest.name]):
                shortest[rest.name] = letters
        return shortest

    @cached_property
    def forced(self) -> list[int]:
        """The tokens that must come next, without those that might be written otherwise with what follows."""
        if not (ahead := certain(self.rests)):
            return []
        tokens: list[int] = []
        try:
            for piece in pieces(ahead):
                last = tokens[-1] if tokens else self.last
                tokens += [piece] if isinstance(piece, int) else self._encoded(piece, last)
        except UnicodeDecodeError:  # the texts part within a character
            return []
        return tokens[: len(tokens) - self._open(tokens, ahead)]

    def _encoded(self, text: str, last: int | None) -> list[int]:
        """The tokens of a text, those that it has behind the `last` token if that is left as it is."""
        tokens = self._table.tokens
        if last is not None and last < len(tokens):
            together = self._table.encode((tokens[last] + text.encode()).decode())
            if together[0] == last:
                return together[1:]
        return self._table.encode(text)

    def _open(self, tokens: Sequence[int], ahead: str) -> int:
        """How many of the last of these tokens, which are the letters ahead, may be part of longer ones."""
        more = {text.encode("latin-1") for text in beginnings(following(self.rests, ahead))}
        written, count = b"", 0
        for number, token in enumerate(reversed(tokens[-_LOOKED_BACK:] if more else ()), 1):
            if token >= len(self._table.tokens):
                break
            text = self._table.tokens[token]
            written = text + written
            ends = [written[start:] for start in range(len(text))]
            if any(end + begun in self._table.ids for end in ends for begun in more):
                count = number
        return count

    @cached_property
    def allowed(self) -> tuple[NDArray[np.int64], Mask]:
        """Which tokens may follow: the places of the words of their mask that are not zero, and these."""
        words: dict[int, int] = {}
        for token in self.forced[:1] or self._tokens():
            words[token // WORD] = words.get(token // WORD, 0) | 1 << token % WORD
        return np.array([*words], np.int64), np.array([*words.values()], np.uint32).view(np.int32)

    def _tokens(self) -> set[int]:
        """The tokens that may follow."""
        ids = self._table.ids
        first = {special_first(rest.letters) for rest in self.rests}
        texts = (text.encode("latin-1") for text in beginnings(self.rests))
        return {token for token in first if token is not None} | {ids[text] for text in texts if text in ids}


class HeadMatcher:
    """Follows a head from a place to its end, where it stops."""

    compiled = None

    def __init__(self, place: Place, failure: str | None = None) -> None:
        self.place = place
        self.failure = failure

    @property
    def stopped(self) -> bool:
        return self.place.is_end

    def fill(self, row: Row) -> bool:
        row.few(*self.place.allowed)
        return self.failure is None

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
