"""The tokens of a vocabulary, and sets of them as the bits of a mask."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

WORD = 32  # tokens in a word of a mask

Mask = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class TokenTable:
    """A vocabulary as grammars see it.

    `ids` are the ordinary tokens by their bytes, from 0 on in the order in which they merge; `special` are
    the ids of the special tokens by name, which no text can spell. `encode` gives the ordinary tokens of a
    text, `size` is the number of ids that logits have, and `end_of_text` a special token that ends a text
    outside of any grammar. `avoided` are the special tokens without which a generation that a limit forces
    to end is brought to its end, if it can be.
    """

    ids: Mapping[bytes, int]
    special: Mapping[str, int]
    encode: Callable[[str], list[int]]
    size: int
    end_of_text: int
    avoided: frozenset[int] = frozenset()

    @property
    def words(self) -> int:
        """The int32 words of a mask."""
        return -(-self.size // WORD)

    @cached_property
    def tokens(self) -> tuple[bytes, ...]:
        """The bytes of the ordinary tokens, by id."""
        return (*self.ids,)

    @cached_property
    def octets(self) -> list[int]:
        """The tokens of one byte."""
        return [token for token, text in enumerate(self.tokens) if len(text) == 1]


def packed(tokens: Iterable[int] | NDArray[np.int64], words: int) -> Mask:
    """The mask int32 [words] that allows these tokens alone: token t is bit t % 32 of word t // 32."""
    bits = np.zeros(words * WORD, np.uint8)
    bits[tokens if isinstance(tokens, np.ndarray) else list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view(np.int32)


def unpacked(mask: Mask) -> NDArray[np.int64]:
    """The tokens that a mask allows, in ascending order."""
    words = np.flatnonzero(mask)
    bits = np.unpackbits(mask[words].view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    rows, places = np.nonzero(bits)
    return words[rows] * WORD + places
