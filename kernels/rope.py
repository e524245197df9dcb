"""Rotary position embedding, stretched by YaRN (Peng et al. 2023, arXiv:2309.00071)."""

import math

import torch
from torch import Tensor

from harmony.kernels import cpu


def yarn_frequencies(
    head_dim: int, *, theta: float, factor: float, initial_context: int, alpha: float, beta: float
) -> Tensor:
    """The angle per position of each pair of dimensions: float32 [head_dim / 2], in radians.

    Pairs that turn more than `beta` times within `initial_context` positions keep their frequency,
    those that turn less than `alpha` times are slowed down by `factor`, and a linear ramp lies
    between. Its ends are not rounded to whole dimensions ("truncate": false); a `factor` of 1 is
    plain RoPE.
    """
    pair = torch.arange(head_dim // 2, dtype=torch.float64)
    frequencies = theta ** (-2 * pair / head_dim)

    def pair_that_turns(times: float) -> float:
        return head_dim / 2 * math.log(initial_context / (times * 2 * math.pi)) / math.log(theta)

    low, high = pair_that_turns(beta), pair_that_turns(alpha)
    slowed = ((pair - low) / (high - low)).clamp(0, 1)
    return (frequencies * (slowed / factor + 1 - slowed)).float()


def yarn_concentration(factor: float) -> float:
    """What YaRN multiplies cosines and sines with, for queries and keys alike: 0.1 ln(factor) + 1."""
    return 0.1 * math.log(factor) + 1


def rotation(positions: Tensor, frequencies: Tensor, concentration: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32 [n, D / 2], for integer `positions` [n] and `frequencies` [D / 2]."""
    angles = positions.float()[:, None] * frequencies
    return angles.cos() * concentration, angles.sin() * concentration


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads `x` [n, heads, D] by `cos` and `sin` [n, D / 2], half-split, in float32.

    Dimension i is paired with i + D / 2; the result has the dtype of `x`.
    """
    if cpu.serves(x):
        from harmony.kernels.cpu.elementwise import rotate as on_cpu

        return on_cpu(x, cos, sin)
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
