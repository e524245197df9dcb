"""Many rows times a matrix of bfloat16, in float32."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.panels import BLOCK, panels_of
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.vectors import LANES


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result."""
    n, (rows, columns) = len(x), weight.shape
    out, order = torch.empty(n, rows, dtype=x.dtype), torch.arange(n)
    panels = panels_of(x, order, order, -(-n // LANES), packed=False)
    pool().run(
        kernel("linear_panels.linear"), -(-rows // BLOCK),
        weight, 0 if bias is None else bias, panels, out, n, rows, columns,
    )  # fmt: skip
    return out
