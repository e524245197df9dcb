"""The gpt-oss model in fused kernels that read packed experts and keys and values in pages.

It computes what `harmony.runtime.model` does, in at most six launches a layer for up to eight rows: qkv,
attention, its output, the router, and the two matrices of the experts. The residual stream is float32.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harmony.errors import UnsupportedModelError
from harmony.kernels.embedding import embed
from harmony.kernels.linear import linear
from harmony.kernels.moe import PackedExperts, moe, pack_experts
from harmony.kernels.qkv import qkv
from harmony.kernels.router import route
from harmony.kernels.unembedding import unembed
from harmony.runtime import model
from harmony.runtime.config import ModelConfig
from harmony.runtime.model import Frame, State, experts_of
from harmony.runtime.paged import Batch, PagedLayer
from harmony.runtime.rows import Places, Rows

LARGEST = 65504.0  # of float16


class AttentionBlock:
    """Adds to x what its tokens find in those before them."""

    def __init__(self, config: ModelConfig, state: State, layer: int) -> None:
        name = f"block.{layer}.attn"
        self.eps = config.rms_norm_eps
        self.norm = state[f"{name}.norm.scale"].float()
        self.qkv_weight, self.qkv_bias = state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"]
        self.sinks = state[f"{name}.sinks"].float()
        self.out_weight, self.out_bias = state[f"{name}.out.weight"], state[f"{name}.out.bias"]

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, layer: PagedLayer, places: Places) -> Tensor:
        return attended(self, x, cos, sin, layer, places)


class MoEBlock:
    """Adds to x what the experts that the router chooses make of it."""

    def __init__(self, config: ModelConfig, state: State, layer: int) -> None:
        name = f"block.{layer}.mlp"
        self.top_k, self.eps = config.experts_per_token, config.rms_norm_eps
        self.norm = _norm_for_float16(state, f"{name}.norm.scale")
        self.gate_weight, self.gate_bias = state[f"{name}.gate.weight"], state[f"{name}.gate.bias"]
        experts = experts_of(config, state, layer)
        self.experts = experts if isinstance(experts, PackedExperts) else pack_experts(experts)

    def __call__(self, x: Tensor) -> Tensor:
        return mixed(self, x)


def attended(
    block: AttentionBlock | model.AttentionBlock,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    layer: PagedLayer,
    places: Places,
) -> Tensor:
    """`x` and what its tokens find in those before them, in operations that kernels fuse."""
    weight, bias, slots = block.qkv_weight, block.qkv_bias, places.slots
    q = qkv(x, block.norm, weight, bias, cos, sin, slots, layer.keys, layer.values, eps=block.eps)
    t = places.attend(q, layer, block.sinks)
    return linear(t.flatten(1), block.out_weight, block.out_bias, residual=x)


def mixed(block: MoEBlock | model.MoEBlock, x: Tensor) -> Tensor:
    """`x` and what the experts that the router chooses make of it."""
    t, weights, ids = route(x, block.norm, block.gate_weight, block.gate_bias, block.top_k, eps=block.eps)
    return moe(t, weights, ids, block.experts, residual=x)


class FusedTransformer(Frame):
    """The whole model, for batches over a paged cache.

    `state` is that of `harmony.runtime.model.Transformer`, its experts packed as `harmony.kernels.packed`
    packs them, or packed here. Raises UnsupportedModelError where the input of experts could be too large
    for float16, in which they are multiplied.
    """

    def __init__(self, config: ModelConfig, state: State) -> None:
        super().__init__(config, state)
        self.blocks = [
            (AttentionBlock(config, state, layer), MoEBlock(config, state, layer))
            for layer in range(config.num_hidden_layers)
        ]

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Read `tokens` int64 [n], those of `batch`; returns the float32 logits that it wants [wanted, V]."""
        rows = Rows(batch)
        x = self.hidden(tokens[rows.order], rows.positions, batch.pages, rows.full, rows.sliding)
        return unembed(x[rows.wanted], self.norm, self.unembedding, eps=self.config.rms_norm_eps)

    def hidden(
        self, tokens: Tensor, positions: Tensor, layers: Sequence[PagedLayer], full: Places, sliding: Places
    ) -> Tensor:
        """Add `tokens` int64 [n] at `positions` int64 [n] to the cache; returns float32 [n, H]."""
        cos, sin = self.rotation(positions)
        x = embed(tokens, self.embedding)
        for (attend, mix), layer in zip(self.blocks, layers, strict=True):
            x = mix(attend(x, cos, sin, layer, full if layer.window is None else sliding))
        return x


def _norm_for_float16(state: State, name: str) -> Tensor:
    """A scale under which no normalised value, of rows as long as it, exceeds float16."""
    scale = state[name].float()
    largest, most = float(scale.abs().max()), LARGEST / math.sqrt(len(scale))
    if not largest < most:
        raise UnsupportedModelError(
            f"{name} reaches {largest:.0f} and the GPU's kernels compute with less than {most:.0f}; "
            "set HARMONY_GPU_KERNELS=torch to run the slow reference"
        )
    return scale
