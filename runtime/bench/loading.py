"""Loading a checkpoint, beside what reading its files and copying to the device take."""

import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import torch
from torch import Tensor

from harmony.errors import UsageError
from harmony.runtime.backend import why_not_fused
from harmony.runtime.bench.shapes import file_of, write_random
from harmony.runtime.bench.table import Row
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import tensors
from harmony.runtime.streaming import BUFFER

COPIES = 16  # of a buffer, whose rate is taken
MOST_BESIDES = 512  # MiB of the device beside the final weights


def find_or_write(folder: Path, config: ModelConfig) -> Checkpoint:
    """The checkpoint of a folder; where there is none, a random one is written first.

    Raises UsageError for a folder of other files, which it would stand among, and for one that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be a folder ({error.strerror}); name another") from None
    if not (folder / "config.json").is_file():
        ours = {file_of(spec.name) for spec in tensors(config)}
        if any(path.name not in ours for path in folder.iterdir()):
            raise UsageError(f"{folder} has files, but no checkpoint; name a checkpoint, or an empty folder")
        size = sum(spec.nbytes(torch.bfloat16) for spec in tensors(config))
        print(f"writing a random checkpoint of {size / 1e9:.1f} GB to {folder}", file=sys.stderr)
        write_random(folder, config)
    return Checkpoint.open(folder)


def load_rows(checkpoint: Checkpoint, device: torch.device) -> Generator[Row, None, dict[str, Tensor]]:
    """The rates, the time to load, and on a GPU the memory that it took besides; returns the weights.

    The files are read once before, so they come from the page cache if it holds them.
    """
    files = set(checkpoint.files.values())
    size = sum(path.stat().st_size for path in files)
    reading, copying = size / _seconds_to_read(files), _copy_rate(device)
    yield Row("reading of the files", reading / 1e9, "GB/s")
    yield Row("copies from pinned memory to the device", copying / 1e9, "GB/s")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    start = time.perf_counter()
    packed = why_not_fused(device, torch.bfloat16) is None
    state = checkpoint.load(device=device, dtype=torch.bfloat16, packed=packed)
    yield Row("load", time.perf_counter() - start, "s", size / min(reading, copying), less=True)
    if device.type == "cuda":
        final = before + sum(tensor.nbytes for tensor in state.values())
        besides = (torch.cuda.max_memory_allocated(device) - final) / (1 << 20)
        yield Row("memory of the device beside the weights while loading", besides, "MiB", MOST_BESIDES)
    return state


def _seconds_to_read(files: Iterable[Path]) -> float:
    """All of them, one after the other, into one buffer."""
    buffer = bytearray(BUFFER)
    start = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def _copy_rate(device: torch.device) -> float:
    """Bytes a second."""
    on_gpu = device.type == "cuda"
    source = torch.empty(BUFFER, dtype=torch.uint8, pin_memory=on_gpu)
    target = torch.empty(BUFFER, dtype=torch.uint8, device=device)
    target.copy_(source)
    start = time.perf_counter()
    for _ in range(COPIES):
        target.copy_(source, non_blocking=True)
    if on_gpu:
        torch.cuda.synchronize(device)
    return COPIES * BUFFER / (time.perf_counter() - start)
