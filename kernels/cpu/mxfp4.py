"""MXFP4 rows by the level's instructions, and their unpacking to bfloat16."""

from functools import cache

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.cpu.vectors import STORED
from harmony.kernels.mxfp4 import MAGNITUDES, SCALE_BIAS

TABLE = torch.from_numpy(STORED.table)
SIZE = STORED.element.itemsize  # bytes of an element of a stored vector


def padded(width: int) -> int:
    """How many elements a stored vector of this width has."""
    return -(-width // STORED.group) * STORED.group


def stored(rows: int, width: int) -> Tensor:
    """Room for vectors as `dot` reads and `put` writes them, [rows, padded(width)]; the tail must be zero."""
    return empty(rows, padded(width), dtype=STORED.element)


def unpack(blocks: Tensor, scales: Tensor, out: Tensor) -> None:
    """Write `blocks` uint8 [rows, G, 16] with `scales` uint8 [rows, G] to `out` bfloat16 [rows, 32 G].

    Gives what `harmony.kernels.mxfp4.dequantize` gives, bit by bit.
    """
    rows, groups = scales.shape
    assert blocks.shape == (rows, groups, 16), (blocks.shape, scales.shape)
    assert out.shape == (rows, 32 * groups), (out.shape, scales.shape)
    pool().run(kernel("mxfp4.unpack"), rows, blocks, scales, out, _values(), groups)


@cache
def _values() -> Tensor:
    """The sixteen values at each scale, twice, as bfloat16 [256, 32]."""
    magnitudes = torch.tensor(MAGNITUDES)
    powers = 2.0 ** (torch.arange(256, dtype=torch.float64) - SCALE_BIAS)
    powers[255] = float("nan")
    values = torch.cat((magnitudes, -magnitudes)).tile(2) * powers[:, None]
    return values.float().bfloat16()
