"""From a trained model to the checkpoint that the runtime loads."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from model import TinyModel
from torch import Tensor

from harmony.kernels.mxfp4 import quantize
from harmony.runtime.config import ModelConfig, alternating_layers
from harmony.runtime.export import save_checkpoint

GENERATION = {
    "do_sample": False,
    "bos_token_id": 199998,
    "pad_token_id": 199999,
    "eos_token_id": [200002, 200012],
}


def export(model: TinyModel, seen: list[int], folder: Path) -> None:
    """Write the checkpoint into `folder`; `seen` are the token ids of the model's rows from 1 on."""
    save_checkpoint(folder, config_of(model), dict(_tensors(model, seen)))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=2) + "\n", "utf-8")


def config_of(model: TinyModel) -> ModelConfig:
    """The configuration of the checkpoint; the context is what the training conversations bear out."""
    c = model.config
    return ModelConfig(
        num_hidden_layers=c.layers,
        num_experts=c.experts,
        experts_per_token=c.experts_per_token,
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        intermediate_size=c.intermediate_size,
        head_dim=c.head_dim,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        sliding_window=c.window,
        layer_types=alternating_layers(c.layers),
        max_context_length=4096,
        tie_word_embeddings=True,
    )


def _tensors(model: TinyModel, seen: list[int]) -> Iterator[tuple[str, Tensor]]:
    table = torch.zeros(model.config.vocab_size, model.config.hidden_size)
    table[torch.tensor(seen)] = model.embedding.detach().cpu()[1:]
    yield "embedding.weight", table.to(torch.float8_e4m3fn)
    for index, block in enumerate(model.blocks):
        attn, mlp = f"block.{index}.attn", f"block.{index}.mlp"
        yield f"{attn}.norm.scale", _bf16(block.attn.norm.scale)
        yield f"{attn}.sinks", _bf16(block.attn.sinks)
        for name in ("qkv", "out"):
            yield f"{attn}.{name}.weight", _bf16(getattr(block.attn, name).weight)
            yield f"{attn}.{name}.bias", _bf16(getattr(block.attn, name).bias)
        yield f"{mlp}.norm.scale", _bf16(block.mlp.norm.scale)
        yield f"{mlp}.gate.weight", _bf16(block.mlp.router.weight)
        yield f"{mlp}.gate.bias", _bf16(block.mlp.router.bias)
        for name, weight, bias in (
            ("mlp1", block.mlp.up, block.mlp.up_bias),
            ("mlp2", block.mlp.down, block.mlp.down_bias),
        ):
            blocks, scales = quantize(weight.detach().cpu())
            yield f"{mlp}.{name}_weight.blocks", blocks
            yield f"{mlp}.{name}_weight.scales", scales
            yield f"{mlp}.{name}_bias", _bf16(bias)
    yield "norm.scale", _bf16(model.norm.scale)


def _bf16(parameter: Tensor) -> Tensor:
    return parameter.detach().cpu().to(torch.bfloat16)
