"""The shapes that are measured, and random weights for them, on any device or as a checkpoint."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from zlib import crc32

import torch
from safetensors.torch import save_file
from torch import Tensor

from harmony.kernels.packed import pack
from harmony.runtime.config import ModelConfig, alternating_layers
from harmony.runtime.layout import TensorSpec, tensors


def shape(layers: int, experts: int, vocab: int) -> ModelConfig:
    """A gpt-oss model with layers as wide as those of the published ones."""
    return ModelConfig(
        num_hidden_layers=layers,
        num_experts=experts,
        experts_per_token=4,
        vocab_size=vocab,
        hidden_size=2880,
        intermediate_size=2880,
        head_dim=64,
        num_attention_heads=64,
        num_key_value_heads=8,
        sliding_window=128,
        layer_types=alternating_layers(layers),
        max_context_length=131072,
    )


SHAPES = {
    "20b": shape(24, 32, 201088),
    "120b": shape(36, 128, 201088),
    "tiny": replace(
        shape(2, 4, 512),
        hidden_size=64,
        intermediate_size=96,
        head_dim=16,
        num_attention_heads=8,
        num_key_value_heads=2,
    ),
}


def write_random(folder: Path, config: ModelConfig) -> None:
    """Write a checkpoint in the layout of original/, a file for each layer; no more is held in memory."""
    cpu = torch.device("cpu")
    for name, specs in groupby(tensors(config), lambda spec: file_of(spec.name)):
        state = {spec.name: _random(spec, cpu, torch.bfloat16) for spec in specs}
        save_file(state, folder / name)
    (folder / "config.json").write_text(json.dumps(config.to_original()), "utf-8")


def random_state(
    config: ModelConfig, device: torch.device, dtype: torch.dtype, *, packed: bool
) -> dict[str, Tensor]:
    """Weights as `Checkpoint.load` gives them, made on the device; the same for a name and a shape."""
    state: dict[str, Tensor] = {}
    for spec in tensors(config):
        torch.manual_seed(crc32(spec.name.encode()))
        state[spec.name] = _random(spec, device, dtype)
        if packed and spec.name.endswith(".scales"):
            repack(state, [spec.name])
    return state


def repack(state: dict[str, Tensor], scales: Iterable[str]) -> None:
    """Put packed experts in place of the checkpoint's, one matrix after the other."""
    for name in scales:
        stem = name.removesuffix(".scales")
        matrix = pack(state.pop(f"{stem}.blocks"), state.pop(name))
        state[f"{stem}.words"], state[f"{stem}.scale_words"] = matrix.words, matrix.scales


def file_of(tensor: str) -> str:
    """The file in which `write_random` puts a tensor."""
    layer = re.match(r"block\.\d+", tensor)
    return f"{layer[0] if layer else tensor}.safetensors"


def _random(spec: TensorSpec, device: torch.device, dtype: torch.dtype) -> Tensor:
    if spec.name.endswith("scales"):
        return torch.randint(117, 121, spec.shape, dtype=torch.uint8, device=device)
    if spec.packed:
        return torch.randint(0, 256, spec.shape, dtype=torch.uint8, device=device)
    values = torch.randn(spec.shape, dtype=dtype, device=device)
    return values.mul_(0.02).add_(spec.name.endswith("norm.scale"))
