"""Experts for a few tokens against float64."""

import pytest
import torch
from torch import Tensor

from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.packed import PackedMatrix, pack
from harmony.kernels.swiglu import swiglu
from harmony.kernels.triton.expert_matvec import expert_down, expert_up

EXPERTS = 6


def matrix(rows: int, columns: int, scales: tuple[int, int] = (118, 126)) -> tuple[PackedMatrix, Tensor]:
    """Random codes under scales of a range, and their values in float64 [E, rows, columns]."""
    blocks = torch.randint(0, 256, (EXPERTS, rows, columns // 32, 16), dtype=torch.uint8)
    powers = torch.randint(*scales, (EXPERTS, rows, columns // 32), dtype=torch.uint8)
    return pack(blocks, powers), dequantize(blocks, powers, torch.float32).double()


def choose(tokens: int, top: int) -> Tensor:
    return torch.stack([torch.randperm(EXPERTS)[:top] for _ in range(tokens)]).int()


def error(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact).norm() / exact.norm())


SHAPES = pytest.mark.parametrize(
    ("tokens", "top", "rows", "columns"),
    [(1, 4, 96, 192), (1, 2, 70, 96), (3, 4, 64, 32), (8, 3, 50, 320)],
)


@SHAPES
def test_up_agrees_with_float64(tokens: int, top: int, rows: int, columns: int) -> None:
    """Interleaved SwiGLU, biases and experts, with tiles that are not full and half a group left over."""
    packed, exact = matrix(2 * rows, columns)
    bias, ids = torch.randn(EXPERTS, 2 * rows), choose(tokens, top)
    x = torch.randn(tokens, columns).half()
    hidden = torch.einsum("nk,nsrk->nsr", x.double(), exact[ids]) + bias[ids]
    ours = expert_up(x, ids, packed, bias, alpha=1.702, limit=7.0)
    assert error(ours, swiglu(hidden)) < 2**-11  # the float16 of the result


@SHAPES
@pytest.mark.parametrize("residual", [False, True])
def test_down_agrees_with_float64(tokens: int, top: int, rows: int, columns: int, residual: bool) -> None:
    """The weighted sum of the experts, their biases and the residual; exact products, float32 sums."""
    packed, exact = matrix(rows, columns)
    bias, ids, weights = torch.randn(EXPERTS, rows), choose(tokens, top), torch.rand(tokens, top)
    x, before = torch.randn(tokens, top, columns).half(), torch.randn(tokens, rows)
    outputs = torch.einsum("nsk,nsrk->nsr", x.double(), exact[ids]) + bias[ids]
    wanted = torch.einsum("ns,nsr->nr", weights.double(), outputs) + (before if residual else 0)
    assert error(expert_down(x, ids, weights, packed, bias, before if residual else None), wanted) < 1e-6


def test_bfloat16_biases_and_residual() -> None:
    """They are read as they lie in a checkpoint; the result has the dtype of the residual."""
    packed, exact = matrix(32, 64)
    bias, ids, weights = torch.randn(EXPERTS, 32).bfloat16(), choose(2, 4), torch.rand(2, 4)
    x, before = torch.randn(2, 4, 64).half(), torch.randn(2, 32).bfloat16()
    outputs = torch.einsum("nsk,nsrk->nsr", x.double(), exact[ids]) + bias[ids].double()
    wanted = torch.einsum("ns,nsr->nr", weights.double(), outputs) + before.double()
    ours = expert_down(x, ids, weights, packed, bias, before)
    assert ours.dtype == torch.bfloat16
    assert error(ours, wanted) < 2**-7  # the interpreter truncates where a GPU rounds


@pytest.mark.parametrize("scale", [0, 1, 254])
def test_extreme_scales(scale: int) -> None:
    """Scale 254 is 2^127 and needs no float16 to hold it; scale 0 is below what float32 products hold."""
    packed, _ = matrix(32, 64, (scale, scale + 1))
    blocks = torch.full((EXPERTS, 32, 2, 16), 0x11, dtype=torch.uint8)  # 0.5 everywhere
    packed = pack(blocks, torch.full((EXPERTS, 32, 2), scale, dtype=torch.uint8))
    x = torch.zeros(1, 1, 64).half()
    x[..., 3] = 2.0
    weights, ids, bias = torch.ones(1, 1), torch.tensor([[5]], dtype=torch.int32), torch.zeros(EXPERTS, 32)
    wanted = 2.0 ** (scale - 127) if scale else 0.0
    assert expert_down(x, ids, weights, packed, bias, None).unique().tolist() == [wanted]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_only_chosen_experts_are_read() -> None:
    """An expert whose scales are infinite changes nothing unless a token chose it."""
    packed, _ = matrix(32, 64)
    packed.scales[3] = 0xFFFF
    bias, weights = torch.zeros(EXPERTS, 32), torch.ones(2, 2)
    x = torch.randn(2, 2, 64).half()
    calm = expert_down(x, torch.tensor([[0, 1], [2, 5]], dtype=torch.int32), weights, packed, bias, None)
    wild = expert_down(x, torch.tensor([[0, 1], [2, 3]], dtype=torch.int32), weights, packed, bias, None)
    assert calm.isfinite().all()
    assert wild[0].isfinite().all()
    assert not wild[1].isfinite().all()
