"""A few rows times a matrix of bfloat16, as fast as the matrix can be read."""

import torch
from torch import Tensor

from harmony.kernels.cpu import FEW_ROWS, level
from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import compute_rows, pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.cpu.vectors import LANES

ELEMENT = torch.bfloat16 if level() == "avx512" else torch.float32  # of the vectors that it multiplies
MOST = LANES // 2  # vectors multiplied at once, with two sums each: as many as registers hold


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; all bfloat16, so the result.

    `n` is at most FEW_ROWS. The rounded result is added to a `residual` [n, out] and rounded again. A row of
    `x` gets the same bits whatever rows are beside it.
    """
    n, (rows, columns) = len(x), weight.shape
    assert n <= FEW_ROWS  # whose sums have room on a thread's stack
    out, added = empty(n, rows, dtype=x.dtype), 0 if residual is None else residual
    pool().run(
        kernel("linear.linear"), rows,
        weight, _vectors(x), 0 if bias is None else bias, added, out, n, rows, columns,
    )  # fmt: skip
    return out


def together(left: int) -> int:
    """How many vectors are multiplied at once where so many are left: a power of two, with room for them."""
    if left <= 2:
        return left
    return min(MOST, 4 if left <= 4 else 8)


def _vectors(x: Tensor) -> Tensor:
    """The rows of `x` as they are multiplied, and zeros for those that are multiplied beside the last."""
    x = x.contiguous()
    if x.dtype == ELEMENT:
        return x
    (n, columns), last = x.shape, (len(x) - 1) // MOST * MOST
    wide = empty(last + together(n - last), columns, dtype=ELEMENT)
    compute_rows(kernel("linear.widen"), len(wide), x, wide, n, columns)
    return wide
