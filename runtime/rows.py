"""The tokens of a step as rows for kernels that read keys and values in their pages.

First come those of parts with few tokens, one that generates, a draft or what a grammar forces: each row is
a sequence of its own to attention, which splits a long cache between programs. Chunks of prompts follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from harmony.kernels.paged_attention import decode_attention, prefill_attention
from harmony.runtime.paged import Batch, PagedLayer, Part
from harmony.runtime.pages import PAGE

FEW_TOKENS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Rows that `prefill_attention` reads: its `table`, `starts`, `lengths` and `longest`."""

    table: Tensor
    starts: Tensor
    lengths: Tensor
    longest: int


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where rows lie in the pages of one layer type, `slots` int32 [n], and what they see.

    The first rows are sequences of their own, with `table` int32 [few, most pages] and `lengths` int32 [few];
    the others belong to `chunks`.
    """

    slots: Tensor
    table: Tensor
    lengths: Tensor
    chunks: Chunks | None = None

    def attend(self, q: Tensor, layer: PagedLayer, sinks: Tensor) -> Tensor:
        """What queries [n, Hq, D] find in a layer that already holds their keys and values."""
        few, pools, found = len(self.lengths), (layer.keys, layer.values), []
        if few:
            single = decode_attention(q[:few], *pools, self.table, self.lengths, sinks, window=layer.window)
            found.append(single)
        if self.chunks is not None:
            table, starts, lengths = self.chunks.table, self.chunks.starts, self.chunks.lengths
            longest, window = self.chunks.longest, layer.window
            found.append(
                prefill_attention(
                    q[few:], *pools, table, starts, lengths, sinks, longest=longest, window=window
                )
            )
        return found[0] if len(found) == 1 else torch.cat(found)


class Rows:
    """A batch in the order of its rows: `order` int64 [n] are the numbers of its tokens.

    `positions` int64 [n], `wanted` the rows that logits are wanted after, in the order of the batch.
    """

    def __init__(self, batch: Batch) -> None:
        firsts = accumulate((len(part.tokens) for part in batch.parts[:-1]), initial=0)
        numbered = sorted(zip(firsts, batch.parts, strict=True), key=lambda one: _is_chunk(one[1]))
        order = torch.cat([torch.arange(len(part.tokens)) + first for first, part in numbered])
        self._parts = [part for _, part in numbered]
        self._positions = torch.cat([torch.arange(part.start, part.end) for part in self._parts])
        self._device = batch.device
        self.order, self.positions = order.to(batch.device), self._positions.to(batch.device)
        self.wanted = order.argsort().to(batch.device)[batch.wanted]
        self.full = self._places([part.sequence.full for part in self._parts])
        self.sliding = self._places([part.sequence.sliding for part in self._parts])

    def _places(self, pages: Sequence[Sequence[int]]) -> Places:
        tables, sizes = _table(pages), torch.tensor([len(part.tokens) for part in self._parts])
        owner = torch.repeat_interleave(sizes)
        slots = tables[owner, self._positions // PAGE] * PAGE + self._positions % PAGE
        chunks = [part for part in self._parts if _is_chunk(part)]
        first = len(self._parts) - len(chunks)
        few = int(sizes[:first].sum())
        return Places(
            self._sent(slots),
            self._sent(tables[owner[:few]]),
            self._sent(self._positions[:few] + 1),
            Chunks(
                self._sent(tables[first:]),
                self._sent(torch.cat((torch.tensor([0]), sizes[first:])).cumsum(0)),
                self._sent(torch.tensor([part.end for part in chunks])),
                int(sizes[first:].max()),
            )
            if chunks
            else None,
        )

    def _sent(self, tensor: Tensor) -> Tensor:
        return tensor.int().to(self._device)


def _is_chunk(part: Part) -> bool:
    return len(part.tokens) > FEW_TOKENS


def _table(pages: Sequence[Sequence[int]]) -> Tensor:
    most = max(map(len, pages))
    return torch.tensor([[*row, *[0] * (most - len(row))] for row in pages])
