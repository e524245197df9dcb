"""The mixture of experts against every expert computed densely."""

import pytest
import torch
from torch import Tensor

from harmony.kernels import moe as module
from harmony.kernels.moe import Experts, moe, route
from harmony.kernels.mxfp4 import dequantize, quantize
from harmony.kernels.swiglu import swiglu

EXPERTS, HIDDEN, WIDTH = 6, 64, 32


@pytest.fixture
def experts() -> Experts:
    up, down = (
        quantize(torch.randn(EXPERTS, 2 * WIDTH, HIDDEN)),
        quantize(torch.randn(EXPERTS, HIDDEN, WIDTH)),
    )
    return Experts(
        *up, torch.randn(EXPERTS, 2 * WIDTH), *down, torch.randn(EXPERTS, HIDDEN), alpha=1.702, limit=7.0
    )


def densely(x: Tensor, weights: Tensor, ids: Tensor, experts: Experts) -> Tensor:
    up = dequantize(experts.up_blocks, experts.up_scales, torch.float32)
    down = dequantize(experts.down_blocks, experts.down_scales, torch.float32)
    hidden = swiglu(torch.einsum("nh,eoh->neo", x, up) + experts.up_bias)
    outputs = torch.einsum("nei,ehi->neh", hidden, down) + experts.down_bias
    share = torch.zeros(len(x), EXPERTS).scatter(1, ids, weights)
    return torch.einsum("ne,neh->nh", share, outputs)


@pytest.mark.parametrize("n", [1, 17])
def test_agrees_with_dense_experts(n: int, experts: Experts) -> None:
    """Only the chosen experts count, each by its weight, its bias included."""
    x = torch.randn(n, HIDDEN)
    weights, ids = route(x, torch.randn(EXPERTS, HIDDEN), torch.randn(EXPERTS), 2)
    assert torch.allclose(moe(x, weights, ids, experts), densely(x, weights, ids, experts), atol=1e-3)


def test_only_chosen_experts_are_unpacked(experts: Experts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two matrices are unpacked for each expert that some row chose, and none for the others."""
    unpacked: list[Tensor] = []

    def spy(blocks: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        unpacked.append(blocks)
        return dequantize(blocks, scales, dtype)

    monkeypatch.setattr(module, "dequantize", spy)
    ids = torch.tensor([[0, 3], [3, 0]])
    moe(torch.randn(2, HIDDEN), torch.full((2, 2), 0.5), ids, experts)
    assert len(unpacked) == 4


def test_router_is_a_softmax_over_the_chosen() -> None:
    """The weights sum to one, are the best logits' softmax, and come best first."""
    x, weight, bias = torch.randn(5, HIDDEN), torch.randn(EXPERTS, HIDDEN), torch.randn(EXPERTS)
    weights, ids = route(x, weight, bias, 3)
    logits = x @ weight.T + bias
    assert torch.equal(ids, logits.topk(3).indices)
    assert torch.allclose(weights, logits.gather(1, ids).softmax(-1))
    assert torch.allclose(weights.sum(-1), torch.ones(5))
