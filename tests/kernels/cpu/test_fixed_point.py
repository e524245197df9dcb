"""Vectors of integers: what of a block's numbers they keep, and what becomes of numbers that are none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed import exact, packed
from products import products
from torch import Tensor

from harmony.kernels.cpu import level

pytestmark = pytest.mark.skipif(level() != "avx512vnni", reason="another level is in use")

EXACT = 14  # powers of two below the largest of a block down to which nothing is rounded


def errors(x: Tensor, blocks: Tensor, scales: Tensor) -> Tensor:
    return (products(x, blocks, scales).double() - x.double() @ exact(blocks, scales)[0].T).abs()


@st.composite
def vectors(draw: st.DrawFn) -> Tensor:
    """Up to 40 blocks of 32 bfloat16 numbers; the exponents of a block lie within a drawn range."""
    torch.manual_seed(draw(st.integers(0, 2**32)))
    blocks, spread = draw(st.integers(1, 40)), draw(st.integers(0, 60))
    tops = torch.randint(-40, 40, (blocks, 1))
    powers = tops - torch.randint(0, spread + 1, (blocks, 32))
    return (torch.randn(blocks, 32).bfloat16().double() * 2.0**powers).bfloat16().reshape(1, -1)


@given(vectors())
def test_no_number_is_off_by_more_than_a_share_of_its_blocks_largest(x: Tensor) -> None:
    """By 2^-22 of it, at each weight; and the sum of a row of 1,280 numbers by no more than float32's."""
    blocks, scales = packed(1, 4, x.shape[1], scales=(120, 130))
    weights = exact(blocks, scales)[0].abs()
    largest = x.double().abs().reshape(-1, 32).amax(-1).repeat_interleave(32)
    bound = weights @ (2.0**-22 * largest) + 1e-6 * (weights @ x.double().abs()[0])
    assert (errors(x, blocks, scales)[0] <= bound).all()


@given(vectors())
def test_numbers_near_the_largest_are_exact(x: Tensor) -> None:
    """One weight that is not zero finds its number, if that is within 14 powers of the largest."""
    at = int(torch.randint(x.shape[1], ()))
    blocks, scales = (
        torch.zeros(1, 2, x.shape[1] // 32, 16, dtype=torch.uint8),
        torch.full((1, 2, x.shape[1] // 32), 127),
    )
    row = int(torch.randint(2, ()))
    blocks[0, row, at // 32, at % 32 // 2] = 2 << 4 * (at % 2)
    block = x[0].reshape(-1, 32)[at // 32].double()
    within = block[at % 32].abs().log2().floor() >= block.abs().max().log2().floor() - EXACT
    found = products(x, blocks, scales.byte())[0, row].item()
    assert found == block[at % 32].item() if within else abs(found) <= block.abs().max().item() * 2.0**-EXACT


def test_subnormal_numbers_and_zeros() -> None:
    """Zeros are exact, also beside large numbers, and nothing tiny is off by more than 2^-126."""
    blocks, scales = packed(1, 8, 160, scales=(127, 128))
    assert products(torch.zeros(1, 160).bfloat16(), blocks, scales).abs().max() == 0
    for power in (-133, -127, -126, -110):
        x = (torch.randn(1, 160) * 2.0**power).bfloat16()
        assert (errors(x, blocks, scales)[0] <= 2.0**-126 * exact(blocks, scales)[0].abs().sum(-1)).all()
    x = torch.zeros(1, 160).bfloat16()
    x[0, 5] = 2.0**100
    assert (errors(x, blocks, scales) == 0).all()


def test_the_largest_numbers() -> None:
    """The greatest bfloat16 there is in each block, and others exact beside it."""
    blocks = torch.full((1, 2, 5, 16), 0x11, dtype=torch.uint8)  # every value is a half
    scales = torch.full((1, 2, 5), 100, dtype=torch.uint8)
    x, greatest = torch.zeros(1, 160).bfloat16(), torch.finfo(torch.bfloat16).max
    x[0, ::32], x[0, 9::32] = greatest, -(2.0**114)
    assert products(x, blocks, scales).tolist() == [[5 * (greatest - 2.0**114) * 2.0**-28] * 2]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("at", [0, 37, 159])
def test_what_is_not_finite_stays_so(value: float, at: int) -> None:
    """No row that meets it has a finite sum, and vectors beside it are not touched."""
    blocks, scales = packed(2, 8, 160)
    x = torch.randn(2, 160).bfloat16()
    before = products(x, blocks, scales)
    x[0, at] = value
    found = products(x, blocks, scales)
    assert not found[0].isfinite().any()
    assert torch.equal(found[1], before[1])
