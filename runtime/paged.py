"""The keys and values of many sequences in pages, shared where they begin alike."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from harmony.kernels import cpu
from harmony.kernels.paged_attention import attention_over_pages, decode_attention
from harmony.runtime.config import ModelConfig
from harmony.runtime.pages import PAGE, PagePool, pages_of
from harmony.runtime.prefix import Block, Match, PrefixCache

LEFT = -1
"""In place of a page of the sliding layers that no query will see again."""


@dataclass(frozen=True, slots=True, eq=False)
class PagedLayer:
    """One layer's keys and values [pages, Hkv, PAGE, D]; `window` None sees all positions."""

    keys: Tensor
    values: Tensor
    window: int | None

    def copy(self, source: int, target: int) -> None:
        self.keys[target] = self.keys[source]
        self.values[target] = self.values[source]


class PagedCache:
    """Pages for all layers, `full` and `sliding` of them for each layer of the type.

    What sequences leave behind is kept for later prompts until its pages are needed.
    """

    def __init__(
        self, config: ModelConfig, full: int, sliding: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._sizes, self._window = (full, sliding), config.sliding_window
        self.clear()
        self.layers: list[PagedLayer] = []
        for layer in range(config.num_hidden_layers):
            window = config.window(layer)
            pages = full if window is None else sliding
            shape = (2, pages, config.num_key_value_heads, PAGE, config.head_dim)
            keys, values = torch.empty(shape, dtype=dtype, device=device)
            self.layers.append(PagedLayer(keys, values, window))

    def clear(self) -> None:
        """Forget everything, and the sequences that are open."""
        self.full, self.sliding = map(PagePool, self._sizes)
        self.prefix = PrefixCache(self.full, self.sliding, self._window)

    def open(self, tokens: Sequence[int], spare: int = 0) -> "CachedSequence | None":
        """A sequence that has read as many of `tokens`, but the last, as the cache knows.

        None when there are not pages for all of them and one more, and `spare` for others.
        """
        match = self.prefix.match(tokens)
        first = self.prefix.first_seen(match.length)
        idle = sum(self.full.is_idle(block.full) for block in match.whole)
        idle_sliding = sum(self.sliding.is_idle(_sliding(block)) for block in match.whole[first:])
        needed = pages_of(len(tokens) + 1) - len(match.whole)
        if self.full.available < idle + needed + spare or self.sliding.available <= idle_sliding:
            return None
        return CachedSequence(self, tokens, match)


class CachedSequence:
    """The tokens that one sequence has read, and its pages: one of each type for PAGE positions."""

    def __init__(self, cache: PagedCache, prompt: Sequence[int], match: Match) -> None:
        self._cache = cache
        self._marks = {len(prompt), match.parted} - {0}  # where others may go on or part
        self._path = list(match.whole)
        self._first = cache.prefix.first_seen(match.length)
        self.tokens = list(prompt[: match.length])
        self.full = [block.full for block in self._path]
        self.sliding = [LEFT] * self._first + [_sliding(block) for block in self._path[self._first :]]
        for page in self.full:
            cache.full.share(page)
        for page in self.sliding[self._first :]:
            cache.sliding.share(page)
        if match.length % PAGE:
            self._copy(match.blocks[-1])

    @property
    def tabled(self) -> tuple[object, ...]:
        """What is equal as long as its pages are the same, which change only where one is full."""
        return self, len(self.full), *self.full[-2:]

    def lacking(self, length: int) -> int:
        """How many pages of each type it takes to have read `length` tokens."""
        return max(0, pages_of(length) - len(self.full))

    def extend(self, count: int) -> bool:
        """Take the pages for `count` tokens more; False, and nothing is taken, if there are not enough."""
        lacking = self.lacking(len(self.tokens) + count)
        if lacking > min(self._cache.full.available, self._cache.sliding.available):
            return False
        self.full += (self._cache.full.take() for _ in range(lacking))
        self.sliding += (self._cache.sliding.take() for _ in range(lacking))
        return True

    def advance(self, tokens: Iterable[int]) -> None:
        """These were read, for which pages had been taken."""
        self.tokens += tokens
        for number in range(len(self._path), len(self.tokens) // PAGE):
            self._path.append(self._kept(number))
            if any(self._first_kept(mark) <= number <= mark // PAGE for mark in self._marks):
                self._keep_sliding(number)
        first = self._cache.prefix.first_seen(len(self.tokens))
        for number in range(self._first, first):
            self._cache.sliding.release(self.sliding[number])
            self.sliding[number] = LEFT
        self._first = first

    def close(self) -> None:
        """Leave the pages to later prompts, which may go on from here."""
        if len(self.tokens) > len(self._path) * PAGE:
            self._path.append(self._kept(len(self._path)))
        for number in range(self._first, len(self._path)):
            self._keep_sliding(number)
        for page in reversed(self.full):  # a block's page goes idle after those of its children
            self._cache.full.release(page)
        for page in self.sliding[self._first :]:
            self._cache.sliding.release(page)

    def _copy(self, block: Block) -> None:
        """Begin with a part of this block; what its pages hold stays, even if they are taken here."""
        source, source_sliding = block.full, _sliding(block)
        self.full.append(self._cache.full.take())
        self.sliding.append(self._cache.sliding.take())
        for layer in self._cache.layers:
            if layer.window is None:
                layer.copy(source, self.full[-1])
            else:
                layer.copy(source_sliding, self.sliding[-1])

    def _kept(self, number: int) -> Block:
        """The block of that number, now that its tokens are known; one that is there already is shared."""
        parent = self._path[number - 1] if number else self._cache.prefix.root
        tokens, page = tuple(self.tokens[number * PAGE : (number + 1) * PAGE]), self.full[number]
        block = self._cache.prefix.add(parent, tokens, page)
        if block.full != page:
            self._cache.full.share(block.full)
            self._cache.full.release(page)
            self.full[number] = block.full
        return block

    def _keep_sliding(self, number: int) -> None:
        self._cache.prefix.add_sliding(self._path[number], self.sliding[number])

    def _first_kept(self, mark: int) -> int:
        return self._cache.prefix.first_seen(mark // PAGE * PAGE)


@dataclass(frozen=True, slots=True)
class Part:
    """The next `tokens` of a sequence in a batch; logits are wanted after the last `wanted` of them.

    Those that logits are wanted before are a draft, which may turn out wrong.
    """

    sequence: CachedSequence
    tokens: Sequence[int]
    wanted: int

    @property
    def draft(self) -> Sequence[int]:
        return self.tokens[len(self.tokens) - self.wanted + 1 :] if self.wanted else ()

    @property
    def start(self) -> int:
        return len(self.sequence.tokens)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class Batch:
    """The cache of one step that reads tokens of several sequences, those of each in a row."""

    def __init__(self, cache: PagedCache, parts: Sequence[Part]) -> None:
        self.parts, self.pages, self.most_pages = parts, cache.layers, cache.full.size
        self.device = device = cache.layers[0].keys.device
        ends = accumulate(len(part.tokens) for part in parts)
        wanted = [range(end - part.wanted, end) for end, part in zip(ends, parts, strict=True)]
        positions = torch.cat([torch.arange(part.start, part.end) for part in parts])
        self.wanted = torch.tensor([row for rows in wanted for row in rows], dtype=torch.int64, device=device)
        self._positions = positions.to(device)

    @cached_property
    def layers(self) -> "list[BatchLayer]":
        """The cache as the reference reads it."""
        parts, positions = self.parts, self._positions.cpu()
        full = _Places(parts, [part.sequence.full for part in parts], positions, self.device)
        sliding = _Places(parts, [part.sequence.sliding for part in parts], positions, self.device)
        return [BatchLayer(layer, full if layer.window is None else sliding) for layer in self.pages]

    def extend(self, count: int) -> Tensor:
        """The positions of the tokens, whose pages were taken before."""
        assert count == len(self._positions), (count, len(self._positions))
        return self._positions


class _Places:
    """Where the tokens of a batch lie in the pages of one layer type, and what their queries see."""

    def __init__(
        self, parts: Sequence[Part], tables: Sequence[list[int]], positions: Tensor, device: torch.device
    ) -> None:
        self._parts, self._tables = parts, tables
        pages: list[Tensor] = []
        self.seen: list[tuple[slice, Tensor, int]] = []
        row = 0
        for part, table in zip(parts, tables, strict=True):
            rows, row = slice(row, row + len(part.tokens)), row + len(part.tokens)
            first = table.count(LEFT)
            used = torch.tensor(table[first : pages_of(part.end)], device=device)
            pages.append(torch.tensor(table)[positions[rows] // PAGE])
            self.seen.append((rows, used, part.end - first * PAGE))
        self.pages, self.offsets = torch.cat(pages).to(device), (positions % PAGE).to(device)

    @cached_property
    def table(self) -> Tensor:
        """The pages of each token's sequence, int32 [n, most pages]."""
        most = max(map(len, self._tables))
        padded = [[*table, *[LEFT] * (most - len(table))] for table in self._tables]
        counts = torch.tensor([len(part.tokens) for part in self._parts])
        return torch.tensor(padded, dtype=torch.int32).repeat_interleave(counts, dim=0)

    @cached_property
    def lengths(self) -> Tensor:
        """How many positions of its sequence each token sees, int32 [n]."""
        ranges = [torch.arange(part.start + 1, part.end + 1) for part in self._parts]
        return torch.cat(ranges).int()


@dataclass(frozen=True, slots=True, eq=False)
class BatchLayer:
    """One layer of a batch."""

    _layer: PagedLayer
    _places: _Places

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor) -> Tensor:
        """Add `keys` and `values` [n, Hkv, D]; returns what `queries` [n, Hq, D] find in their sequences."""
        places, layer = self._places, self._layer
        layer.keys[places.pages, :, places.offsets] = keys
        layer.values[places.pages, :, places.offsets] = values
        if cpu.serves(queries) and cpu.computes_alone(len(queries)):
            rows = layer.keys, layer.values, places.table, places.lengths
            return decode_attention(queries, *rows, sinks, window=layer.window)
        return torch.cat(list(self._found(queries, sinks)))

    def _found(self, queries: Tensor, sinks: Tensor) -> Iterator[Tensor]:
        for rows, pages, length in self._places.seen:
            keys, values, window = self._layer.keys, self._layer.values, self._layer.window
            yield attention_over_pages(queries[rows], keys, values, pages, length, sinks, window=window)


def _sliding(block: Block) -> int:
    assert block.sliding is not None
    return block.sliding
