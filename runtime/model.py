"""The gpt-oss model in plain torch, to be read from top to bottom."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels.linear import linear
from harmony.kernels.moe import Experts, PackedExperts, moe, route
from harmony.kernels.packed import PackedMatrix
from harmony.kernels.rms_norm import rms_norm
from harmony.kernels.rope import rotate, rotation, yarn_concentration, yarn_frequencies
from harmony.runtime.cache import FullLayer, KVCache, SlidingLayer
from harmony.runtime.config import ModelConfig
from harmony.runtime.paged import Batch, BatchLayer

State = Mapping[str, Tensor]
CacheLayer = SlidingLayer | FullLayer | BatchLayer


class AttentionBlock:
    """What the tokens of x find in those before them."""

    def __init__(self, config: ModelConfig, state: State, layer: int) -> None:
        name = f"block.{layer}.attn"
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim, self.eps = config.head_dim, config.rms_norm_eps
        self.norm = state[f"{name}.norm.scale"].float()
        self.qkv_weight, self.qkv_bias = state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"]
        self.sinks = state[f"{name}.sinks"].float()
        self.out_weight, self.out_bias = state[f"{name}.out.weight"], state[f"{name}.out.bias"]

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, cache: CacheLayer) -> Tensor:
        t = rms_norm(x, self.norm, self.eps)
        qkv = linear(t, self.qkv_weight, self.qkv_bias).view(len(x), -1, self.head_dim)
        q, k, v = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        t = cache.attend(q, k, v, self.sinks)
        return linear(t.flatten(1), self.out_weight, self.out_bias)


class MoEBlock:
    """What the experts that the router chooses make of x."""

    def __init__(self, config: ModelConfig, state: State, layer: int) -> None:
        name = f"block.{layer}.mlp"
        self.top_k, self.eps = config.experts_per_token, config.rms_norm_eps
        self.norm = state[f"{name}.norm.scale"].float()
        self.gate_weight = state[f"{name}.gate.weight"].float()
        self.gate_bias = state[f"{name}.gate.bias"].float()
        self.experts = experts_of(config, state, layer)

    def __call__(self, x: Tensor) -> Tensor:
        t = rms_norm(x, self.norm, self.eps)
        weights, ids = route(t, self.gate_weight, self.gate_bias, self.top_k)
        return moe(t, weights, ids, self.experts)


def experts_of(config: ModelConfig, state: State, layer: int) -> Experts | PackedExperts:
    """A layer's experts as the state holds them: in the checkpoint's blocks, or packed for a GPU."""
    name, alpha, limit = f"block.{layer}.mlp", config.swiglu_alpha, config.swiglu_limit
    up, up_bias = f"{name}.mlp1_weight", state[f"{name}.mlp1_bias"]
    down, down_bias = f"{name}.mlp2_weight", state[f"{name}.mlp2_bias"]
    if f"{up}.words" in state:
        hidden, width = config.hidden_size, config.intermediate_size
        packed_up = PackedMatrix(state[f"{up}.words"], state[f"{up}.scale_words"], 2 * width, hidden)
        packed_down = PackedMatrix(state[f"{down}.words"], state[f"{down}.scale_words"], hidden, width)
        return PackedExperts(packed_up, up_bias, packed_down, down_bias, alpha, limit)
    up_parts, down_parts = ((state[f"{stem}.blocks"], state[f"{stem}.scales"]) for stem in (up, down))
    return Experts(*up_parts, up_bias, *down_parts, down_bias, alpha, limit)


class Frame:
    """What a model has around its layers: the two tables, the last norm, and the rotation of positions."""

    def __init__(self, config: ModelConfig, state: State) -> None:
        self.config = config
        self.embedding = state["embedding.weight"]
        self.norm = state["norm.scale"].float()
        self.unembedding = state["embedding.weight" if config.tie_word_embeddings else "unembedding.weight"]
        self._frequencies = yarn_frequencies(
            config.head_dim,
            theta=config.rope_theta,
            factor=config.rope_scaling_factor,
            initial_context=config.initial_context_length,
            alpha=config.rope_ntk_alpha,
            beta=config.rope_ntk_beta,
        ).to(self.device)
        self._concentration = yarn_concentration(config.rope_scaling_factor)

    @property
    def device(self) -> torch.device:
        return self.unembedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unembedding.dtype

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines float32 [n, D / 2] of the angles of `positions` int64 [n]."""
        return rotation(positions, self._frequencies, self._concentration)


class Transformer(Frame):
    """The whole model, for one sequence or a batch of them.

    `state` is what `Checkpoint.load` gives: the tensors of `harmony.runtime.layout.tensors` under their names
    in original/, experts repacked if they are on a GPU. The unembedding's dtype, bfloat16 or float32, is that
    of the computation, and its device the model's; the embedding may lie on the host.
    Norms, rotation, router, attention scores and softmax are float32 in either case.
    """

    attention: type[AttentionBlock] = AttentionBlock
    mixture: type[MoEBlock] = MoEBlock

    def __init__(self, config: ModelConfig, state: State) -> None:
        super().__init__(config, state)
        self.blocks = [
            (self.attention(config, state, layer), self.mixture(config, state, layer))
            for layer in range(config.num_hidden_layers)
        ]

    def new_cache(self, context_length: int) -> KVCache:
        """An empty cache for up to `context_length` tokens."""
        return KVCache(self.config, context_length, dtype=self.dtype, device=self.device)

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, cache: KVCache | Batch, *, all_positions: bool = False) -> Tensor:
        """Read `tokens` int64 [n], which follow those in `cache`, and add them to it.

        Returns the float32 logits of the token after the last one [V], or after each of them [n, V]; of a
        batch those that it wants [wanted, V].
        """
        cos, sin = self.rotation(cache.extend(len(tokens)))
        x = F.embedding(tokens.to(self.embedding.device), self.embedding).to(self.device)
        for (attend, mix), layer in zip(self.blocks, cache.layers, strict=True):
            x = x + attend(x, cos, sin, layer)
            x = x + mix(x)
        x = rms_norm(x if all_positions else x[cache.wanted], self.norm, self.config.rms_norm_eps)
        return self.unembed(x.view(-1, x.shape[-1])).view(*x.shape[:-1], self.config.vocab_size)

    def unembed(self, x: Tensor) -> Tensor:
        """The float32 logits [n, V] of rows [n, H] that have passed the last norm."""
        return linear(x, self.unembedding).float()
