"""One model over several devices of a machine: tensor parallelism by whole blocks of MXFP4.

Each rank holds some of the key heads with their query heads, and some of the blocks of 32 of every expert's
inner width: the rows of W1, gate and up together, and the columns of W2 that belong to them. Neither has to
come out even: 90 blocks over 4 ranks are 23, 23, 22 and 22. What the ranks find is summed twice a layer,
after the attention's output and after the experts; the unembedding is cut by rows and its logits are
gathered. Norms, router and embedding are on every rank, and every rank returns the same logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from harmony.errors import ModelError
from harmony.kernels.mxfp4 import BLOCK
from harmony.runtime.backend import why_not_fused
from harmony.runtime.checkpoint import Checkpoint, Progress
from harmony.runtime.config import ModelConfig
from harmony.runtime.model import AttentionBlock, CacheLayer, MoEBlock, State, Transformer


@dataclass(frozen=True, slots=True)
class Shard:
    """What the device number `rank` of `ranks` holds of a model; ModelError where it would be nothing."""

    model: ModelConfig
    rank: int
    ranks: int

    def __post_init__(self) -> None:
        most = min(self.model.num_key_value_heads, self.model.intermediate_size // BLOCK)
        if not 0 <= self.rank < self.ranks <= most:
            raise ModelError(
                f"this model has no part {self.rank} of {self.ranks}; cut it over 1 to {most} devices, "
                "numbered from 0"
            )

    @property
    def config(self) -> ModelConfig:
        """A model of the heads and the inner width that are here."""
        heads, blocks = self._span(self.model.num_key_value_heads), self._blocks
        return replace(
            self.model,
            num_key_value_heads=heads.stop - heads.start,
            num_attention_heads=(heads.stop - heads.start) * self._queries_of_a_key,
            intermediate_size=(blocks.stop - blocks.start) * BLOCK,
        )

    @property
    def rows(self) -> slice:
        """The rows of the unembedding: equally many on all ranks but the last."""
        rows = -(-self.model.vocab_size // self.ranks)
        return slice(self.rank * rows, min((self.rank + 1) * rows, self.model.vocab_size))

    def cut(self, name: str, parts: Sequence[Tensor]) -> list[Tensor]:
        """What is here of the tensor `name`, which is `parts` joined; views where that is possible.

        A bias that is added to a sum over the ranks is that of rank 0, and zero elsewhere.
        """
        whole, kind = parts[0], name.split(".", 2)[-1]
        if kind.startswith("attn.qkv."):
            return [part[rows] for part, rows in zip(self._projections(parts), self._heads(), strict=True)]
        if kind == "attn.sinks":
            return [whole[self._times(self._span(self.model.num_key_value_heads), self._queries_of_a_key)]]
        if kind == "attn.out.weight":
            return [whole[:, self._heads()[0]]]
        if kind in ("attn.out.bias", "mlp.mlp2_bias"):
            return [whole if self.rank == 0 else torch.zeros_like(whole)]
        if kind.startswith("mlp.mlp1_"):
            return [whole[:, self._times(self._blocks, 2 * BLOCK)]]
        if kind.startswith("mlp.mlp2_weight."):
            return [whole[:, :, self._blocks]]
        return [whole[self.rows]] if name == "unembedding.weight" else [*parts]

    @property
    def _queries_of_a_key(self) -> int:
        return self.model.num_attention_heads // self.model.num_key_value_heads

    @property
    def _blocks(self) -> slice:
        return self._span(self.model.intermediate_size // BLOCK)

    def _span(self, count: int) -> slice:
        """This rank's of `count` things: as many as any other's, or one more on the first ranks."""
        each, more = divmod(count, self.ranks)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def _heads(self) -> tuple[slice, slice, slice]:
        """The rows of queries, keys and values."""
        keys = self._times(self._span(self.model.num_key_value_heads), self.model.head_dim)
        return self._times(keys, self._queries_of_a_key), keys, keys

    def _projections(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Queries, keys and values, which original/ stores as one."""
        sizes = [self.model.attention_size, self.model.kv_size, self.model.kv_size]
        return parts if len(parts) == 3 else torch.split(parts[0], sizes)

    @staticmethod
    def _times(span: slice, width: int) -> slice:
        return slice(span.start * width, span.stop * width)


class ParallelAttention(AttentionBlock):
    """What the heads of all ranks find together."""

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, cache: CacheLayer) -> Tensor:
        return _summed(super().__call__(x, cos, sin, cache))


class ParallelMoE(MoEBlock):
    """What the experts of all ranks make of x together."""

    def __call__(self, x: Tensor) -> Tensor:
        return _summed(super().__call__(x))


class ParallelTransformer(Transformer):
    """This process's part of a model in the default group of torch.distributed.

    `state` is what `Checkpoint.load` gives with the shard's `cut`. All ranks call it with the same tokens;
    caches are of the heads that are here.
    """

    attention, mixture = ParallelAttention, ParallelMoE

    def __init__(self, shard: Shard, state: State) -> None:
        super().__init__(shard.config, state)
        self.shard = shard
        if self.config.tie_word_embeddings:
            self.unembedding = self.embedding[shard.rows]

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
        progress: Progress | None = None,
    ) -> "ParallelTransformer":
        """Load this process's part of a checkpoint; `progress` hears bytes of the whole.

        Raises what `Checkpoint.open` and `Checkpoint.load` do, and ModelError for more ranks than key heads.
        """
        checkpoint = Checkpoint.open(Path(folder))
        shard = Shard(checkpoint.config, dist.get_rank(), dist.get_world_size())
        state = checkpoint.load(
            device=device,
            dtype=dtype,
            progress=progress,
            packed=why_not_fused(device, dtype) is None,
            cut=shard.cut,
        )
        return cls(shard, state)

    def unembed(self, x: Tensor) -> Tensor:
        """The logits of all ranks' rows."""
        rows = -(-self.config.vocab_size // self.shard.ranks)
        mine = super().unembed(x)
        mine = F.pad(mine, (0, rows - mine.shape[-1])).contiguous()
        every = [torch.empty_like(mine) for _ in range(self.shard.ranks)]
        dist.all_gather(every, mine)
        return torch.cat(every, dim=-1)[:, : self.config.vocab_size]


def _summed(part: Tensor) -> Tensor:
    dist.all_reduce(part)
    return part
