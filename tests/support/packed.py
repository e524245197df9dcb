"""Random MXFP4 weights, and what they stand for."""

import torch
from torch import Tensor

from harmony.kernels.mxfp4 import MAGNITUDES


def packed(*shape: int, scales: tuple[int, int] = (110, 130)) -> tuple[Tensor, Tensor]:
    """Random blocks and scales for rows of `shape[-1]` values."""
    *rows, width = shape
    blocks = torch.randint(0, 256, (*rows, width // 32, 16), dtype=torch.uint8)
    return blocks, torch.randint(*scales, (*rows, width // 32), dtype=torch.uint8)


def exact(blocks: Tensor, scales: Tensor) -> Tensor:
    """The values in float64, which holds all of them."""
    values = torch.tensor(MAGNITUDES + tuple(-m for m in MAGNITUDES), dtype=torch.float64)
    nibbles = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2).int()
    return (values[nibbles] * 2.0 ** (scales.double() - 127)[..., None]).flatten(-2)
