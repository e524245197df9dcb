"""The tensors of a gpt-oss checkpoint: our names are those of original/, beside the Hugging Face ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch

from harmony.runtime.config import ModelConfig

Layout = Literal["original", "huggingface"]
Part = tuple[str, tuple[int, ...]]  # a tensor's name in a file, and its shape


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of the model: its name in original/, its shape, and how Hugging Face stores it.

    `packed` tensors are uint8 MXFP4 blocks or scales, the others floats. `huggingface` names the
    tensors that, joined along the first dimension, make this one.
    """

    name: str
    shape: tuple[int, ...]
    huggingface: tuple[Part, ...]
    packed: bool = False

    @property
    def numel(self) -> int:
        return prod(self.shape)

    def nbytes(self, dtype: torch.dtype, *, repacked: bool = False) -> int:
        """The bytes of this tensor with floats in `dtype`; `repacked` as the Triton kernels read experts."""
        if not self.packed:
            return self.numel * dtype.itemsize
        if not repacked:
            return self.numel
        experts, rows, count, *block = self.shape
        return experts * rows * (count + count % 2) * prod(block)

    def parts(self, layout: Layout) -> tuple[Part, ...]:
        """What the files of this layout hold for this tensor."""
        return self.huggingface if layout == "huggingface" else ((self.name, self.shape),)


def tensors(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """Every tensor of a model of this configuration; a tied model has no unembedding of its own."""
    return tuple(_tensors(config))


def _tensors(config: ModelConfig) -> Iterator[TensorSpec]:
    table = (config.vocab_size, config.hidden_size)
    yield _same("embedding.weight", "model.embed_tokens.weight", table)
    for layer in range(config.num_hidden_layers):
        yield from _attention(config, f"block.{layer}.attn", f"model.layers.{layer}")
        yield from _experts(config, f"block.{layer}.mlp", f"model.layers.{layer}")
    yield _same("norm.scale", "model.norm.weight", (config.hidden_size,))
    if not config.tie_word_embeddings:
        yield _same("unembedding.weight", "lm_head.weight", table)


def _attention(config: ModelConfig, ours: str, theirs: str) -> Iterator[TensorSpec]:
    hidden, q, kv = config.hidden_size, config.attention_size, config.kv_size
    projections = (("q_proj", q), ("k_proj", kv), ("v_proj", kv))
    yield _same(f"{ours}.norm.scale", f"{theirs}.input_layernorm.weight", (hidden,))
    yield TensorSpec(
        f"{ours}.qkv.weight",
        (q + 2 * kv, hidden),
        tuple((f"{theirs}.self_attn.{name}.weight", (rows, hidden)) for name, rows in projections),
    )
    yield TensorSpec(
        f"{ours}.qkv.bias",
        (q + 2 * kv,),
        tuple((f"{theirs}.self_attn.{name}.bias", (rows,)) for name, rows in projections),
    )
    yield _same(f"{ours}.sinks", f"{theirs}.self_attn.sinks", (config.num_attention_heads,))
    yield _same(f"{ours}.out.weight", f"{theirs}.self_attn.o_proj.weight", (hidden, q))
    yield _same(f"{ours}.out.bias", f"{theirs}.self_attn.o_proj.bias", (hidden,))


def _experts(config: ModelConfig, ours: str, theirs: str) -> Iterator[TensorSpec]:
    hidden, width, experts = config.hidden_size, config.intermediate_size, config.num_experts
    yield _same(f"{ours}.norm.scale", f"{theirs}.post_attention_layernorm.weight", (hidden,))
    yield _same(f"{ours}.gate.weight", f"{theirs}.mlp.router.weight", (experts, hidden))
    yield _same(f"{ours}.gate.bias", f"{theirs}.mlp.router.bias", (experts,))
    for mine, their, rows, columns in (
        ("mlp1", "gate_up_proj", 2 * width, hidden),
        ("mlp2", "down_proj", hidden, width),
    ):
        scales = (experts, rows, columns // 32)
        stem = f"{theirs}.mlp.experts.{their}"
        yield _same(f"{ours}.{mine}_weight.blocks", f"{stem}_blocks", (*scales, 16), packed=True)
        yield _same(f"{ours}.{mine}_weight.scales", f"{stem}_scales", scales, packed=True)
        yield _same(f"{ours}.{mine}_bias", f"{stem}_bias", (experts, rows))


def _same(ours: str, theirs: str, shape: tuple[int, ...], *, packed: bool = False) -> TensorSpec:
    return TensorSpec(ours, shape, ((theirs, shape),), packed)
