"""From a trained model to the checkpoint that the runtime loads, and back."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from model import TinyModel
from torch import Tensor

from harmony.kernels.mxfp4 import dequantize, quantize
from harmony.runtime import Checkpoint
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


def rows_of(folder: Path) -> list[int]:
    """The token ids that have a row in a checkpoint."""
    stored = Checkpoint.open(folder).load(device=torch.device("cpu"), dtype=torch.float32)
    rows: list[int] = stored["embedding.weight"].float().abs().sum(1).nonzero()[:, 0].tolist()
    return rows


@torch.no_grad()
def restore(model: TinyModel, seen: list[int], folder: Path) -> list[int]:
    """Take the weights of a checkpoint that `export` wrote; the model's rows that it lacks."""
    stored = Checkpoint.open(folder).load(device=torch.device("cpu"), dtype=torch.float32)
    table = stored["embedding.weight"].float()[torch.tensor(seen)]
    known = table.abs().sum(1) > 0
    model.embedding[1:][known] = table[known].to(model.embedding.device)
    for name, parameter in _parameters(model):
        if f"{name}.blocks" in stored:
            packed = stored[f"{name}.blocks"], stored[f"{name}.scales"]
            parameter.copy_(dequantize(*packed, dtype=parameter.dtype))
        else:
            parameter.copy_(stored[name])
    return [row for row, is_known in enumerate(known.tolist(), start=1) if not is_known]


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
    for name, parameter in _parameters(model):
        weight = parameter.detach().cpu()
        if name.endswith(("mlp1_weight", "mlp2_weight")):
            blocks, scales = quantize(weight)
            yield f"{name}.blocks", blocks
            yield f"{name}.scales", scales
        else:
            yield name, weight.to(torch.bfloat16)


def _parameters(model: TinyModel) -> Iterator[tuple[str, Tensor]]:
    """All but the embedding, by their names in original/."""
    for index, block in enumerate(model.blocks):
        attn, mlp = f"block.{index}.attn", f"block.{index}.mlp"
        yield f"{attn}.norm.scale", block.attn.norm.scale
        yield f"{attn}.sinks", block.attn.sinks
        for name in ("qkv", "out"):
            yield f"{attn}.{name}.weight", getattr(block.attn, name).weight
            yield f"{attn}.{name}.bias", getattr(block.attn, name).bias
        yield f"{mlp}.norm.scale", block.mlp.norm.scale
        yield f"{mlp}.gate.weight", block.mlp.router.weight
        yield f"{mlp}.gate.bias", block.mlp.router.bias
        yield f"{mlp}.mlp1_weight", block.mlp.up
        yield f"{mlp}.mlp1_bias", block.mlp.up_bias
        yield f"{mlp}.mlp2_weight", block.mlp.down
        yield f"{mlp}.mlp2_bias", block.mlp.down_bias
    yield "norm.scale", model.norm.scale
