"""Rows times a matrix."""

import torch.nn.functional as F
from torch import Tensor

from harmony.kernels import cpu, triton


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor | None = None
) -> Tensor:
    """`x` [n, in] times the rows of `weight` [out, in], plus `bias` [out]; sums float32, dtype of `x`.

    A `residual` [n, out] is added, and the result has its dtype then.
    """
    if triton.serves(x) and len(x) <= triton.FEW_ROWS:
        from harmony.kernels.triton.dense_matvec import dense

        return dense(x, weight, bias, residual=residual, dtype=(x if residual is None else residual).dtype)
    if cpu.serves(x) and len(x) <= cpu.FEW_ROWS and (residual is None or residual.dtype == x.dtype):
        from harmony.kernels.cpu.linear import linear as on_cpu

        return on_cpu(x, weight, bias, residual)
    if residual is not None:
        return residual + linear(x, weight, bias)
    if cpu.serves(x) and cpu.computes_alone(len(x)):
        from harmony.kernels.cpu.linear_panels import linear as of_many

        return of_many(x, weight, bias)
    return F.linear(x, weight, bias)
