"""What earlier prompts left in the cache: a tree of pages, looked up by the tokens they hold.

A page of the full layers is kept with every block. Of the sliding layers a prompt needs only the last
window - 1 positions to go on from, so pages of theirs are kept where sequences are likely to be resumed: at
the end of a prompt, at the end of a generation, and where two prompts have parted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harmony.runtime.pages import PAGE, PagePool, pages_of

Tokens = tuple[int, ...]


class Block:
    """Up to PAGE tokens after those of its parent, with the page that holds them in each layer type."""

    def __init__(self, parent: Block | None, tokens: Tokens, full: int) -> None:
        self.parent = parent
        self.tokens = tokens
        self.full = full
        self.sliding: int | None = None
        self.children: dict[Tokens, Block] = {}


@dataclass(frozen=True, slots=True)
class Match:
    """How a prompt can go on from the cache: after `length` tokens, which lie in `blocks`.

    Of the last block it may need the beginning alone. `parted` is how many tokens the cache knows.
    """

    blocks: tuple[Block, ...]
    length: int
    parted: int

    @property
    def whole(self) -> tuple[Block, ...]:
        """The blocks that can be shared."""
        return self.blocks[: self.length // PAGE]


class PrefixCache:
    """The tree, over a pool of pages for the full layers and one for the sliding layers."""

    def __init__(self, full: PagePool, sliding: PagePool, window: int) -> None:
        self.root = Block(None, (), -1)
        self._full = full
        self._sliding = sliding
        self._window = window

    def first_seen(self, length: int) -> int:
        """The block with the oldest position that a sliding layer needs after `length` tokens."""
        return max(0, length - self._window + 1) // PAGE

    def match(self, tokens: Sequence[int]) -> Match:
        """The longest way to go on; the last token is always left to read."""
        most = len(tokens) - 1
        block, blocks = self.root, []
        for start in range(0, most - PAGE + 1, PAGE):
            child = block.children.get(tuple(tokens[start : start + PAGE]))
            if child is None:
                break
            blocks.append(block := child)
        known = len(blocks) * PAGE
        rest = tokens[known : min(known + PAGE, most)]
        tail = max(
            block.children.values(),
            key=lambda child: (common(child.tokens, rest), child.sliding is not None),
            default=None,
        )
        parted = known
        if tail is not None and (shared := common(tail.tokens, rest)):
            parted += shared
            blocks.append(tail)
        for length in (parted, *range(known, 0, -PAGE)):
            used = blocks[: pages_of(length)]
            if all(block.sliding is not None for block in used[self.first_seen(length) :]):
                return Match(tuple(used), length, parted)
        return Match((), 0, parted)

    def add(self, parent: Block, tokens: Tokens, page: int) -> Block:
        """The block of these tokens: the one that is there, else one that keeps this page."""
        if tokens in parent.children:
            return parent.children[tokens]
        block = parent.children[tokens] = Block(parent, tokens, page)
        self._full.keep(page, lambda: self._forget(block))
        return block

    def add_sliding(self, block: Block, page: int) -> None:
        """Keep a page of the sliding layers with its block, unless it has one."""
        if block.sliding is None:
            block.sliding = page
            self._sliding.keep(page, lambda: _lose(block))

    def _forget(self, block: Block) -> None:
        """A page of a leaf is evicted: those of its children went idle before it, and are gone."""
        assert block.parent is not None
        assert not block.children
        del block.parent.children[block.tokens]
        if block.sliding is not None:
            self._sliding.drop(block.sliding)


def _lose(block: Block) -> None:
    block.sliding = None


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
