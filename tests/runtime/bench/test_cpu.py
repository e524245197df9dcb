"""The benchmark of a checkpoint on the CPU runs, and its files are what they say."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harmony.runtime.bench.shapes import write_random
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.llama_cpp import MATRICES, write_gguf


def test_random_checkpoint_is_complete(tmp_path: Path, config: ModelConfig) -> None:
    """What is written loads as a checkpoint of this shape."""
    write_random(tmp_path, config)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.config == config
    assert checkpoint.load(device=torch.device("cpu"), dtype=torch.bfloat16)


@pytest.mark.parametrize("matrices", MATRICES)
def test_gguf_is_whole(tmp_path: Path, config: ModelConfig, matrices: str) -> None:
    """The file counts its tensors, and is as long as they need."""
    write_gguf(tmp_path / "model.gguf", config, matrices)
    data = (tmp_path / "model.gguf").read_bytes()
    magic, version, tensors, _ = struct.unpack_from("<4sIQQ", data)
    assert (magic, version, tensors) == (b"GGUF", 3, 3 + 19 * config.num_hidden_layers)
    assert len(data) % 32 == 0


def test_the_benchmark_prints_its_table() -> None:
    """At its smallest it gives a row of four cells for every figure."""
    sizes = {"layers": 1, "experts": 4, "vocab": 64, "prompt": 12, "tokens": 2, "turns": 1, "threads": 1}
    sizes |= {"together": 2, "history": 70, "profile": 2}
    flags = [f"--{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, "-m", "harmony.runtime.bench", *flags]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    figures = " ".join(cells[0] for cells in table)
    for figure in (
        "load",
        "first token",
        "resident",
        "memory read",
        "prefill",
        "decode",
        "step of 2: experts",
        "step of 2: unembedding",
        "2 together",
        "next turn",
    ):
        assert figure in figures
