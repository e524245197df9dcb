"""Dense products for a few tokens against float64."""

import pytest
import torch
import torch.nn.functional as F

from harmony.kernels.triton.dense_matvec import dense


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tokens", "rows", "columns"), [(1, 16, 64), (3, 37, 330), (8, 33, 720), (11, 20, 96)]
)
def test_agrees_with_float64(tokens: int, rows: int, columns: int, full: bool, dtype: torch.dtype) -> None:
    """With and without norm, bias and residual, in both dtypes of a checkpoint and with ragged tiles."""
    x, weight = torch.randn(tokens, columns).to(dtype), torch.randn(rows, columns).to(dtype)
    norm, bias, residual = (
        torch.rand(columns),
        torch.randn(rows).to(dtype),
        torch.randn(tokens, rows).to(dtype),
    )
    exact = x.double()
    if full:
        exact = F.rms_norm(exact, (columns,), norm.double(), 1e-5)
        ours = dense(x, weight, bias, norm=norm, residual=residual)
        wanted = exact @ weight.double().T + bias.double() + residual.double()
    else:
        ours, wanted = dense(x, weight), exact @ weight.double().T
    assert float((ours.double() - wanted).norm() / wanted.norm()) < 1e-6
