"""Read a gpt-oss checkpoint in either published layout, straight from its safetensors files."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harmony.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from harmony.runtime.casting import cast
from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import Layout, Part, tensors
from harmony.runtime.streaming import Staging

Progress = Callable[[int, int], None]
Cut = Callable[[str, Sequence[Tensor]], Sequence[Tensor]]  # a tensor's name, and what are joined to make it
FLOATS = {"BF16", "F32", "F16", "F8_E4M3"}
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder's configuration, and the file of each of its tensors."""

    folder: Path
    config: ModelConfig
    files: Mapping[str, Path]

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Find a checkpoint in `folder` or its original/ sub-folder; no tensor is read yet.

        Raises ModelNotFoundError for a folder that is not there, CheckpointError for one without
        configuration or weights or with damaged ones, UnsupportedModelError for another architecture.
        """
        if not folder.is_dir():
            raise ModelNotFoundError(f"there is no folder {folder}; check the path of the model")
        for home in (folder, folder / "original"):
            if (home / "config.json").is_file() and any(home.glob("*.safetensors")):
                return cls(home, ModelConfig.read(home / "config.json"), dict(_files(home)))
        raise CheckpointError(
            f"{folder} holds no config.json with .safetensors files beside it; download the whole checkpoint"
        )

    @property
    def layout(self) -> Layout:
        """By whose names its tensors are found: those of transformers, or those of the first release."""
        return "huggingface" if any(name.startswith("model.") for name in self.files) else "original"

    def load(
        self,
        *,
        device: torch.device,
        dtype: torch.dtype,
        progress: Progress | None = None,
        packed: bool = False,
        embedding_on_host: bool = False,
        cut: Cut | None = None,
    ) -> dict[str, Tensor]:
        """Read every tensor of the model under its name in original/.

        MXFP4 bytes stay packed; the others are cast to `dtype`. On a CPU, what needs no cast stays in the
        mapped file; to a device tensors are streamed (`harmony.runtime.streaming`). `packed` repacks the
        experts there for the Triton kernels: in place of `….blocks` and `….scales` stand `….words` uint32
        [E, G, rows, 8] and `….scale_words` uint16 [E, G, rows], the tensors of a
        `harmony.kernels.packed.PackedMatrix`. `embedding_on_host` leaves the embedding in pinned memory of
        the host. `cut` takes a part of each tensor, as `harmony.runtime.parallel` does. `progress` hears the
        bytes done and their total, first 0 and then after each tensor. Raises CheckpointError for a tensor
        that is missing or of the wrong shape or dtype, UnsupportedModelError for experts that are not MXFP4,
        ValueError for an embedding that has to be on the device because the model is tied to it.
        """
        if embedding_on_host and self.config.tie_word_embeddings:
            raise ValueError("this model's unembedding is its embedding; load it without embedding_on_host")
        specs = tensors(self.config)
        sizes = [spec.nbytes(dtype) for spec in specs]
        staging = Staging(device) if packed or device.type != "cpu" else None
        state: dict[str, Tensor] = {}
        layout, total, done = self.layout, sum(sizes), 0
        if progress is not None:
            progress(0, total)
        with ExitStack() as stack:
            opened = cache(lambda path: stack.enter_context(_open(path)))
            if staging is not None:
                stack.enter_context(staging.open())
            for spec, size in zip(specs, sizes, strict=True):
                parts: Sequence[Tensor] = [
                    self._read(part, opened, packed=spec.packed) for part in spec.parts(layout)
                ]
                parts = parts if cut is None else cut(spec.name, parts)
                kind = torch.uint8 if spec.packed else dtype
                if staging is None:
                    state[spec.name] = _joined([cast(part, kind) for part in parts])
                elif packed and spec.packed:
                    _repack(staging, spec.name, parts[0], state)
                elif embedding_on_host and spec.name == "embedding.weight":
                    state[spec.name] = staging.keep(parts[0], kind)
                else:
                    state[spec.name] = staging.place(parts, kind)
                done += size
                if progress is not None:
                    progress(done, total)
        return state

    def _read(self, part: Part, opened: Callable[[Path], Any], *, packed: bool) -> Tensor:
        name, shape = part
        if name not in self.files:
            raise self._missing(name)
        path = self.files[name]
        file = opened(path)  # safe_open, whose methods have no types
        try:
            stored = file.get_slice(name)
        except SafetensorError:
            raise CheckpointError(f"{path} lacks the tensor {name}; download this file again") from None
        if tuple(stored.get_shape()) != shape or stored.get_dtype() not in ({"U8"} if packed else FLOATS):
            wanted = "U8" if packed else "BF16"
            raise CheckpointError(
                f"{path}: {name} is {stored.get_dtype()} {list(stored.get_shape())} but the config.json asks "
                f"for {wanted} {list(shape)}; take both from the same checkpoint"
            )
        tensor: Tensor = file.get_tensor(name)
        return tensor

    def _missing(self, name: str) -> CheckpointError | UnsupportedModelError:
        if name.removesuffix("_blocks") in self.files:
            return UnsupportedModelError(
                f"{self.folder}: {name.removesuffix('_blocks')} is not MXFP4, and this runtime computes only "
                "MXFP4 experts; take a checkpoint such as openai/gpt-oss-20b"
            )
        return CheckpointError(f"{self.folder} lacks the tensor {name}; download the whole checkpoint")


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([*parts]) if len(parts) > 1 else parts[0].contiguous()


def _repack(staging: Staging, name: str, stored: Tensor, state: dict[str, Tensor]) -> None:
    """Put the scales' words, and those of the blocks that came before, in their place."""
    stem, _, kind = name.rpartition(".")
    if kind == "blocks":
        state[name] = stored  # where the file is mapped, until its scales are there
        return
    matrix = staging.repack(state.pop(f"{stem}.blocks"), stored)
    state[f"{stem}.words"], state[f"{stem}.scale_words"] = matrix.words, matrix.scales


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each tensor's name and file: by the index when there is one, else as the files say."""
    index = folder / INDEX
    if not index.is_file():
        for path in sorted(folder.glob("*.safetensors")):
            with _open(path) as file:
                yield from ((name, path) for name in list(file.keys()))
        return
    try:
        names = dict(json.loads(index.read_text("utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is no index of tensors; download it again") from error
    for name, file_name in names.items():
        path = folder / str(file_name)
        if not path.is_file():
            raise CheckpointError(f"{path} is missing, which holds {name}; download it")
        yield name, path


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); download it again") from error
