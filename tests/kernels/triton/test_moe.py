"""The packed mixture of experts against the one in torch, in float64."""

import pytest
import torch

from harmony.kernels.moe import Experts, moe, pack_experts, route
from harmony.kernels.mxfp4 import dequantize, quantize
from harmony.kernels.swiglu import swiglu

EXPERTS, HIDDEN, WIDTH = 6, 96, 64


@pytest.mark.parametrize("n", [1, 8, 11])
def test_agrees_with_float64(n: int) -> None:
    """One token, the most that the matrix-vector kernels take, and more, which are grouped by expert."""
    up, down = (
        quantize(torch.randn(EXPERTS, 2 * WIDTH, HIDDEN)),
        quantize(torch.randn(EXPERTS, HIDDEN, WIDTH)),
    )
    up_bias, down_bias = torch.randn(EXPERTS, 2 * WIDTH), torch.randn(EXPERTS, HIDDEN)
    experts = Experts(*up, up_bias, *down, down_bias, alpha=1.702, limit=7.0)
    x = torch.randn(n, HIDDEN)
    weights, ids = route(x, torch.randn(EXPERTS, HIDDEN), torch.randn(EXPERTS), 4)

    exact_up, exact_down = (dequantize(*packed, torch.float32).double()[ids] for packed in (up, down))
    hidden = swiglu(torch.einsum("nh,nsoh->nso", x.double(), exact_up) + up_bias[ids])
    outputs = torch.einsum("nsi,nshi->nsh", hidden, exact_down) + down_bias[ids]
    wanted = torch.einsum("ns,nsh->nh", weights.double(), outputs)

    ours = moe(x, weights, ids, pack_experts(experts))
    assert ours.dtype == x.dtype
    assert float((ours.double() - wanted).norm() / wanted.norm()) < 5e-4
