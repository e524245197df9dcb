"""Packed rows on the CPU against float64, at the model's real widths."""

import pytest
import torch
from guarded import guarded
from packed import exact, packed
from products import products

from harmony.kernels.cpu.mxfp4 import unpack
from harmony.kernels.mxfp4 import dequantize

WIDTHS = [32, 64, 96, 128, 160, 2880, 5760]  # whole groups of four blocks, and tails of one to three


@pytest.mark.parametrize("width", WIDTHS)
def test_products_are_exact(width: int) -> None:
    """The error is that of a float32 sum, 1e-6 of the absolute products; the last row is right, too."""
    blocks, scales = packed(3, 40, width)
    x = torch.randn(3, width).bfloat16()
    weights = exact(blocks, scales)
    ours = products(x, blocks, scales).double()
    error = (ours - torch.einsum("ei,eoi->eo", x.double(), weights)).abs()
    assert (error / torch.einsum("ei,eoi->eo", x.double().abs(), weights.abs())).max() < 1e-6


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_vectors_of_an_expert_have_the_sums_that_they_have_alone(count: int, width: int) -> None:
    """Bit by bit, however many of them are multiplied at once and are left over."""
    blocks, scales = packed(2, 6, width)
    x = torch.randn(2 * count, width).bfloat16()
    together = products(x, blocks, scales)
    for number, vector in enumerate(x):
        expert = slice(number // count, number // count + 1)
        assert torch.equal(products(vector[None], blocks[expert], scales[expert])[0], together[number])


@pytest.mark.parametrize("scale", [0, 1, 2, 253])
def test_extreme_scales(scale: int) -> None:
    """The smallest and the largest powers of two are computed with as well."""
    blocks, scales = packed(1, 8, 160, scales=(scale, scale + 1))
    x = torch.full((1, 160), 2.0 ** (60 if scale < 10 else -60)).bfloat16()
    wanted = x.double() @ exact(blocks, scales)[0].T
    assert torch.allclose(products(x, blocks, scales).double(), wanted, rtol=1e-6, atol=0)


def test_scale_254() -> None:
    """The last scale before NaN multiplies by 2^127."""
    blocks = torch.full((1, 2, 1, 16), 0x11, dtype=torch.uint8)  # every value is a half
    scales = torch.full((1, 2, 1), 254, dtype=torch.uint8)
    x = torch.full((1, 32), 2.0**-60).bfloat16()
    assert products(x, blocks, scales).tolist() == [[16 * 2.0 ** (127 - 60)] * 2]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_read_behind_the_last_row(width: int) -> None:
    """A tensor may end where its file's memory ends; the last rows are right there, too."""
    blocks, scales = packed(1, 4, width)
    x = torch.randn(1, width).bfloat16()
    at_the_end = guarded(blocks), guarded(scales)
    assert torch.equal(products(x, *at_the_end), products(x, blocks, scales))
    out = torch.empty(4, width, dtype=torch.bfloat16)
    unpack(at_the_end[0][0], at_the_end[1][0], out)
    assert torch.equal(out, dequantize(blocks[0], scales[0]))


@pytest.mark.parametrize("width", [32, 2880])
def test_unpacking_is_that_of_the_reference(width: int) -> None:
    """Bit by bit, at every scale, subnormal and infinite values included."""
    blocks, scales = packed(256, width)
    scales[:, 0] = torch.arange(256)
    out = torch.empty(256, width, dtype=torch.bfloat16)
    unpack(blocks, scales, out)
    wanted = dequantize(blocks, scales)
    assert torch.equal(out.isnan(), wanted.isnan())
    assert torch.equal(out.nan_to_num(), wanted.nan_to_num())
