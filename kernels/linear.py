"""Rows times a matrix."""

import torch.nn.functional as F
from torch import Tensor

from harmony.kernels import cpu


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; sums float32, dtype of `x`."""
    if cpu.serves(x) and len(x) <= cpu.FEW_ROWS:
        from harmony.kernels.cpu.linear import linear as on_cpu

        return on_cpu(x, weight, bias)
    return F.linear(x, weight, bias)
