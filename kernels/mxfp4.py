"""MXFP4: four-bit floats in blocks of 32 that share one power-of-two scale.

The format is that of the OCP Microscaling Formats specification 1.0 and of the published gpt-oss
checkpoints: 16 bytes a block, byte j holds element 2j in its low nibble and element 2j + 1 in its high
one; a nibble is a sign bit over a code 0..7; scale byte s multiplies by 2^(s - 127), and 255 is NaN.
"""

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

BLOCK = 32
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SCALE_BIAS = 127
LARGEST_EXPONENT = 2  # of a magnitude: 6 = 1.5 * 2^2


def dequantize(blocks: Tensor, scales: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Unpack `blocks` uint8 [..., G, 16] with `scales` uint8 [..., G] to `dtype` [..., 32 G].

    Exact in bfloat16 and in float32 up to scale byte 252, which covers every finite float32 that
    `quantize` takes; beyond it the products that no float32 can hold come out infinite.
    """
    assert blocks.shape == (*scales.shape, BLOCK // 2), (blocks.shape, scales.shape)
    pairs, powers = _tables(dtype, blocks.device)
    values = pairs.index_select(0, blocks.flatten().int()).view(dtype).view(*scales.shape, BLOCK)
    return values.mul_(powers[scales.int()].unsqueeze(-1)).flatten(-2)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round `weight` [..., 32 G] to MXFP4: blocks uint8 [..., G, 16] and scales uint8 [..., G].

    The scale is the largest power of two in the block divided by that of the format (OCP 1.0, section
    6.3); elements are rounded to the nearest, ties to the even code, and saturate at 6. What came out
    of `dequantize` is kept exactly. Raises ValueError for a row that is no multiple of 32 or a weight
    that is not finite.
    """
    if weight.shape[-1] % BLOCK:
        raise ValueError(f"rows of {weight.shape[-1]} values cannot be cut into blocks of {BLOCK}")
    groups = weight.detach().float().reshape(*weight.shape[:-1], -1, BLOCK)
    largest = groups.abs().amax(-1)
    if not largest.isfinite().all():
        raise ValueError("weights must be finite to be quantised")
    _, exponent = torch.frexp(largest)  # largest = m * 2^exponent with m in [0.5, 1)
    scales = (exponent - 1 - LARGEST_EXPONENT + SCALE_BIAS).clamp(0, 254).to(torch.uint8)
    _, powers = _tables(torch.float32, weight.device)
    codes = _nearest_code(groups / powers[scales.int()].unsqueeze(-1))
    return codes[..., 0::2] | codes[..., 1::2] << 4, scales


def _nearest_code(values: Tensor) -> Tensor:
    magnitudes = values.abs()
    codes = torch.signbit(values).to(torch.uint8) << 3
    for code, (below, above) in enumerate(pairwise(MAGNITUDES)):
        middle = (below + above) / 2
        codes += magnitudes >= middle if code % 2 else magnitudes > middle
    return codes


@cache
def _tables(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two values of each byte, side by side in one integer word [256], which looks up six times
    faster than a row of two, and the power of two of each scale byte [256]."""
    signed = MAGNITUDES + tuple(-magnitude for magnitude in MAGNITUDES)
    pairs = [(signed[byte & 15], signed[byte >> 4]) for byte in range(256)]
    powers = [2.0 ** (byte - SCALE_BIAS) for byte in range(255)] + [float("nan")]
    words = torch.tensor(pairs, dtype=dtype).view(torch.int32 if dtype.itemsize == 2 else torch.int64)
    return words.flatten().to(device), torch.tensor(powers, dtype=dtype, device=device)
