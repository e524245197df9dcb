"""Experts for many tokens against float64."""

import pytest
import torch
from torch import Tensor

from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.packed import PackedMatrix, pack
from harmony.kernels.swiglu import swiglu
from harmony.kernels.triton.expert_gemm import gemm_down, gemm_up, schedule

EXPERTS = 5


def matrix(rows: int, columns: int, low: int, high: int) -> tuple[PackedMatrix, Tensor]:
    """Random codes under scales from `low` to `high`, and their values in float64 [E, rows, columns]."""
    blocks = torch.randint(0, 256, (EXPERTS, rows, columns // 32, 16), dtype=torch.uint8)
    scales = torch.randint(low, high + 1, (EXPERTS, rows, columns // 32), dtype=torch.uint8)
    return pack(blocks, scales), dequantize(blocks, scales, torch.float32).double()


def choose(tokens: int, top: int) -> Tensor:
    """Expert 0 never, so that one has no tile."""
    return torch.stack([torch.randperm(EXPERTS - 1)[:top] + 1 for _ in range(tokens)]).int()


def error(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact).norm() / exact.norm())


SHAPES = pytest.mark.parametrize(
    ("tokens", "top", "rows", "columns"), [(1, 1, 70, 32), (9, 4, 66, 96), (70, 3, 150, 64)]
)


@SHAPES
def test_up_agrees_with_float64(tokens: int, top: int, rows: int, columns: int) -> None:
    """One token, tiles that are not full, half a group, and an expert whom nobody chose."""
    packed, exact = matrix(2 * rows, columns, 118, 125)
    bias, ids, x = torch.randn(EXPERTS, 2 * rows), choose(tokens, top), torch.randn(tokens, columns).half()
    wanted = swiglu(torch.einsum("nk,nsrk->nsr", x.double(), exact[ids]) + bias[ids])
    ours = gemm_up(x, schedule(ids, EXPERTS), top, packed, bias, alpha=1.702, limit=7.0)
    assert error(ours, wanted) < 2**-11  # the float16 of the result


@SHAPES
def test_down_agrees_with_float64(tokens: int, top: int, rows: int, columns: int) -> None:
    """The weighted sum; scales that span 2^20 in a row are exact."""
    packed, exact = matrix(rows, columns, 100, 120)
    bias, ids, weights = torch.randn(EXPERTS, rows).bfloat16(), choose(tokens, top), torch.rand(tokens, top)
    x = torch.randn(tokens, top, columns).half()
    outputs = torch.einsum("nsk,nsrk->nsr", x.double(), exact[ids]) + bias[ids].double()
    wanted = torch.einsum("ns,nsr->nr", weights.double(), outputs)
    assert error(gemm_down(x, schedule(ids, EXPERTS), weights, packed, bias), wanted) < 1e-6


@pytest.mark.parametrize(("scale", "wanted"), [(0, 0.0), (1, 2.0**-126), (254, 2.0**127)])
def test_extreme_scales(scale: int, wanted: float) -> None:
    """Rows as large and as small as MXFP4 holds; scale 0 counts as zero."""
    blocks = torch.full((EXPERTS, 32, 2, 16), 0x11, dtype=torch.uint8)  # 0.5 everywhere
    packed = pack(blocks, torch.full((EXPERTS, 32, 2), scale, dtype=torch.uint8))
    x = torch.zeros(1, 1, 64).half()
    x[..., 3] = 2.0
    plan = schedule(torch.tensor([[4]]), EXPERTS)
    ours = gemm_down(x, plan, torch.ones(1, 1), packed, torch.zeros(EXPERTS, 32))
    assert ours.unique().tolist() == [wanted]


def test_every_pair_has_one_place() -> None:
    """Tiles cover the pairs of each expert, and the bound on their number holds."""
    ids = choose(50, 3)
    plan = schedule(ids, EXPERTS)
    counts = torch.bincount(ids.flatten().long(), minlength=EXPERTS)
    assert sorted(plan.pairs.tolist()) == list(range(150))
    assert ids.flatten()[plan.pairs.long()].diff().ge(0).all()
    assert plan.pair_ends.tolist() == counts.cumsum(0).tolist()
    assert int(plan.tile_ends[-1]) == int((-(-counts // plan.tile)).sum()) <= plan.tiles
