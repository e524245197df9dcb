"""The router against float64."""

import pytest
import torch
import torch.nn.functional as F

from harmony.kernels.triton.router import route


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "experts", "top", "columns"), [(1, 32, 4, 64), (5, 6, 3, 70), (9, 9, 1, 33)]
)
def test_agrees_with_float64(tokens: int, experts: int, top: int, columns: int, dtype: torch.dtype) -> None:
    """The best experts in order, the softmax over them alone, and the normalised vector."""
    x, norm = torch.randn(tokens, columns), torch.rand(columns)
    weight, bias = torch.randn(experts, columns).to(dtype), torch.randn(experts).to(dtype)
    exact = F.rms_norm(x.double(), (columns,), norm.double(), 1e-5)
    best, wanted = (exact @ weight.double().T + bias.double()).topk(top)
    normed, weights, ids = route(x, norm, weight, bias, top)
    assert ids.tolist() == wanted.tolist()
    assert torch.allclose(weights.double(), best.softmax(-1), atol=1e-5)
    assert torch.allclose(normed.double(), exact, rtol=2**-10)


def test_of_equal_logits_the_first() -> None:
    """Ties go to the lower number, so a choice is the same on every device."""
    weight, bias = torch.zeros(7, 16), torch.tensor([0.0, 1.0, 2.0, 1.0, 2.0, 1.0, 0.0])
    _, weights, ids = route(torch.ones(1, 16), torch.ones(16), weight, bias, 4)
    assert ids.tolist() == [[2, 4, 1, 3]]
    assert weights[0, 0] == weights[0, 1]
