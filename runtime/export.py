"""Write a checkpoint in either published layout, as safetensors."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import Layout, TensorSpec, tensors


def save_checkpoint(
    folder: str | Path,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    *,
    layout: Layout = "huggingface",
    shards: int = 1,
) -> None:
    """Write config.json and the tensors of `state` into `folder`, which is created when needed.

    `state` names tensors as original/ does (`harmony.runtime.layout.tensors` lists names and shapes):
    experts as packed uint8, everything else in any float dtype, which is kept. A tied model has no
    unembedding.weight. With several `shards` the tensors are dealt to the files in turn, so that no
    file holds a whole layer. Raises ValueError for a tensor that is missing, left over, or of
    another shape or kind than the configuration says.
    """
    stored = dict(_stored(config, state, layout))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = config.to_huggingface() if layout == "huggingface" else config.to_original()
    (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    if shards == 1:
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        return
    names = [f"model-{shard:05}-of-{shards:05}.safetensors" for shard in range(shards)]
    weight_map = {tensor: names[turn % shards] for turn, tensor in enumerate(stored)}
    for name in names:
        save_file({t: stored[t] for t in stored if weight_map[t] == name}, folder / name, {"format": "pt"})
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in stored.values())},
        "weight_map": weight_map,
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _stored(config: ModelConfig, state: Mapping[str, Tensor], layout: Layout) -> Iterator[tuple[str, Tensor]]:
    specs = {spec.name: spec for spec in tensors(config)}
    if unknown := sorted(state.keys() ^ specs.keys()):
        raise ValueError(f"the state and the configuration differ in {', '.join(unknown)}")
    for name, spec in specs.items():
        _check(spec, state[name])
        parts = spec.parts(layout)
        pieces = torch.split(state[name], [shape[0] for _, shape in parts])
        for (part, _), piece in zip(parts, pieces, strict=True):
            yield part, piece.detach().cpu().clone(memory_format=torch.contiguous_format)


def _check(spec: TensorSpec, tensor: Tensor) -> None:
    kind = tensor.dtype == torch.uint8 if spec.packed else tensor.is_floating_point()
    if tuple(tensor.shape) != spec.shape or not kind:
        wanted = "uint8" if spec.packed else "float"
        raise ValueError(
            f"{spec.name} must be {wanted} {list(spec.shape)}, not {tensor.dtype} {list(tensor.shape)}"
        )
