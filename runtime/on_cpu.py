"""The gpt-oss model on a CPU: a few rows are read by kernels that Python lists once and calls no more.

A step of more rows is computed as `harmony.runtime.model` says.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels import cpu
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.tape import recording
from harmony.kernels.unembedding import unembed
from harmony.runtime.cache import KVCache
from harmony.runtime.fused import attended, mixed
from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch, PagedLayer, Part
from harmony.runtime.pages import PAGE
from harmony.runtime.rows import Places


class CpuTransformer(Transformer):
    """The whole model in bfloat16; used in one thread."""

    _layers: Sequence[PagedLayer] = ()

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, cache: KVCache | Batch, *, all_positions: bool = False) -> Tensor:
        if all_positions or isinstance(cache, KVCache) or len(tokens) > cpu.FEW_ROWS:
            return super().__call__(tokens, cache, all_positions=all_positions)
        x = self.step(len(tokens), cache).read(tokens, cache)[cache.wanted]
        return unembed(x, self.norm, self.unembedding, eps=self.config.rms_norm_eps)

    def step(self, rows: int, batch: Batch) -> "FewRows":
        """The step for so many rows, on the cache that was used last."""
        if batch.pages is not self._layers:
            self._layers = batch.pages
            self._steps: dict[int, FewRows] = {}
        if rows not in self._steps:
            self._steps[rows] = FewRows(self, batch.pages, rows, batch.most_pages)
        return self._steps[rows]


class FewRows:
    """A step of `rows` tokens, of sequences that have up to `most_pages`.

    Its input lies in tensors that stay where they are.
    """

    def __init__(
        self, model: CpuTransformer, layers: Sequence[PagedLayer], rows: int, most_pages: int
    ) -> None:
        config, self._model = model.config, model
        self._x = torch.empty(rows, config.hidden_size, dtype=model.dtype)
        self._cos, self._sin = torch.empty(2, rows, config.head_dim // 2)
        lengths = torch.zeros(rows, dtype=torch.int32)
        self._full, self._sliding = (
            Places(torch.zeros_like(lengths), torch.zeros(rows, most_pages, dtype=torch.int32), lengths)
            for _ in range(2)
        )
        self._tabled: list[tuple[object, ...]] = []
        with recording() as tape:
            x = self._x
            for (attend, mix), layer in zip(model.blocks, layers, strict=True):
                places = self._full if layer.window is None else self._sliding
                x = attended(attend, x, self._cos, self._sin, layer, places)
                x = mixed(mix, x)
        self.program = tape.program(x)

    def read(self, tokens: Tensor, batch: Batch) -> Tensor:
        """The last hidden states [rows, H], which the next call overwrites."""
        self.fill(tokens, batch)
        pool().play(self.program)
        return self.program.result

    def fill(self, tokens: Tensor, batch: Batch) -> None:
        """Put the input where `program` reads it."""
        model, positions = self._model, batch.extend(len(tokens))
        self._x.copy_(F.embedding(tokens, model.embedding))
        for place, turned in zip((self._cos, self._sin), model.rotation(positions), strict=True):
            place.copy_(turned)
        self._place(batch.parts, positions.tolist())

    def _place(self, parts: Sequence[Part], positions: Sequence[int]) -> None:
        owners = [part.sequence for part in parts for _ in part.tokens]
        self._full.lengths.copy_(torch.tensor(positions) + 1)
        tabled = [owner.tabled for owner in owners]
        for places, tables in (
            (self._full, [owner.full for owner in owners]),
            (self._sliding, [owner.sliding for owner in owners]),
        ):
            rows = zip(tables, positions, strict=True)
            places.slots.copy_(torch.tensor([table[at // PAGE] * PAGE + at % PAGE for table, at in rows]))
            if tabled != self._tabled:
                for row, table in enumerate(tables):
                    places.table[row, : len(table)] = torch.tensor(table)
        self._tabled = tabled
