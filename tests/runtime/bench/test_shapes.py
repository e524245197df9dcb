"""Random weights are complete, and the same wherever they are made."""

import torch

from harmony.kernels.packed import PackedMatrix, unpack
from harmony.runtime.bench.check import errors
from harmony.runtime.bench.peers import bfloat16_bytes
from harmony.runtime.bench.shapes import SHAPES, random_state
from harmony.runtime.layout import tensors

CPU = torch.device("cpu")
TINY = SHAPES["tiny"]


def test_packed_and_unpacked_weights_are_the_same() -> None:
    """Of every shape that the configuration asks for, and made again with the same bits."""
    plain = random_state(TINY, CPU, torch.bfloat16, packed=False)
    packed = random_state(TINY, CPU, torch.bfloat16, packed=True)
    assert {spec.name: spec.shape for spec in tensors(TINY)} == {k: tuple(v.shape) for k, v in plain.items()}
    for name, tensor in plain.items():
        if name in packed:
            assert torch.equal(tensor, packed[name])
        elif name.endswith(".blocks"):
            stem = name.removesuffix(".blocks")
            _, rows, count, _ = tensor.shape
            words, scales = packed[f"{stem}.words"], packed[f"{stem}.scale_words"]
            blocks, exponents = unpack(PackedMatrix(words, scales, rows, 32 * count))
            assert torch.equal(blocks, tensor)
            assert torch.equal(exponents, plain[f"{stem}.scales"])


def test_the_size_in_bfloat16() -> None:
    """Two bytes for each of the 20.9 billion parameters."""
    assert round(bfloat16_bytes(SHAPES["20b"]) / 2e9, 3) == 20.915


def test_errors_are_relative() -> None:
    """A row that is off by a tenth of its length."""
    exact = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    found = torch.tensor([[3.0, 4.5], [0.0, 2.0]])
    torch.testing.assert_close(errors(exact, found), torch.tensor([0.1, 0.0]))
