"""MXFP4 against the arithmetic of the standard, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony.kernels.mxfp4 import BLOCK, MAGNITUDES, dequantize, quantize

bytes_ = st.integers(0, 255)
blocks = st.lists(bytes_, min_size=16, max_size=16)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
quick = settings(max_examples=200, deadline=None)


def values_of(block: list[int], scale: int) -> list[float]:
    """The 32 values of a block, by the standard's words."""
    signed = [sign * magnitude for sign in (1.0, -1.0) for magnitude in MAGNITUDES]
    return [signed[code] * 2.0 ** (scale - 127) for byte in block for code in (byte & 15, byte >> 4)]


def unpacked(block: list[int], scale: int, dtype: torch.dtype) -> Tensor:
    packed = torch.tensor([block], dtype=torch.uint8)
    return dequantize(packed, torch.tensor([scale], dtype=torch.uint8), dtype)


@quick
@given(blocks, st.integers(0, 252), st.sampled_from([torch.bfloat16, torch.float32]))
def test_dequantize_is_exact(block: list[int], scale: int, dtype: torch.dtype) -> None:
    """Every value comes out exactly, in bfloat16 too, subnormal ones at scale 0 included."""
    assert unpacked(block, scale, dtype).double().tolist() == values_of(block, scale)


@given(blocks, st.sampled_from([253, 254]))
def test_largest_scales(block: list[int], scale: int) -> None:
    """Beyond scale 252 a value is exact as long as a float32 can hold it, and infinite otherwise."""
    largest = torch.finfo(torch.float32).max
    wanted = [v if abs(v) <= largest else math.copysign(math.inf, v) for v in values_of(block, scale)]
    assert unpacked(block, scale, torch.float32).double().tolist() == wanted


def test_scale_255_is_not_a_number() -> None:
    """The standard's NaN scale makes the whole block NaN."""
    assert unpacked([17] * 16, 255, torch.bfloat16).isnan().all()


@quick
@given(blocks, st.integers(0, 252))
def test_round_trip_of_packed_values(block: list[int], scale: int) -> None:
    """Quantising what was unpacked gives the same values, signs of zeros included."""
    once = unpacked(block, scale, torch.float32)
    again = dequantize(*quantize(once), torch.float32)
    assert torch.equal(once, again)
    assert torch.equal(once.signbit(), again.signbit())


@quick
@given(st.lists(floats, min_size=BLOCK, max_size=BLOCK))
def test_quantize_takes_the_nearest_value(weights: list[float]) -> None:
    """Each element goes to the nearest value that its block's scale offers."""
    packed, scales = quantize(torch.tensor(weights))
    power = 2.0 ** (int(scales[0]) - 127)
    rounded = dequantize(packed, scales, torch.float32).double().tolist()
    grid = [sign * magnitude * power for magnitude in MAGNITUDES for sign in (1, -1)]
    for weight, value in zip(torch.tensor(weights).double().tolist(), rounded, strict=True):
        assert abs(weight - value) == min(abs(weight - point) for point in grid)


@quick
@given(st.lists(floats, min_size=BLOCK, max_size=BLOCK))
def test_scale_is_that_of_the_standard(weights: list[float]) -> None:
    """The scale is 2 to the floor of log2 of the largest element, less the 2 of the format's largest."""
    _, scales = quantize(torch.tensor(weights))
    largest = float(torch.tensor(weights).abs().max())
    if largest:
        assert int(scales[0]) == max(0, math.frexp(largest)[1] - 1 - 2 + 127)


def test_ties_go_to_the_even_code() -> None:
    """Half-way values round to the code whose last bit is zero."""
    ties = torch.zeros(BLOCK)
    ties[:8] = torch.tensor([4.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    rounded = dequantize(*quantize(ties), torch.float32)[:8]
    assert rounded.tolist() == [4.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]


def test_saturates_at_the_largest_value() -> None:
    """7.9 is above 6, the largest magnitude of its scale, and becomes 6."""
    assert dequantize(*quantize(torch.full((BLOCK,), 7.9)), torch.float32).tolist() == [6.0] * BLOCK


def test_leading_dimensions_stay() -> None:
    """Experts and rows keep their places, and the input dimension is packed in blocks of 16 bytes."""
    weight = torch.randn(3, 5, 64)
    packed, scales = quantize(weight)
    assert packed.shape == (3, 5, 2, 16)
    assert scales.shape == (3, 5, 2)
    assert torch.equal(dequantize(packed[1], scales[1]), dequantize(packed, scales)[1])


@pytest.mark.parametrize("weight", [torch.zeros(33), torch.tensor([math.inf] * 32)])
def test_quantize_refuses(weight: Tensor) -> None:
    """Rows that are no multiple of 32 and weights that are not finite are refused."""
    with pytest.raises(ValueError, match=r"blocks of 32|finite"):
        quantize(weight)
