"""Repacking on the device against the torch reference."""

import pytest
import torch
import triton
import triton.language as tl

from harmony.kernels import packed
from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.triton.packing import block_scale, block_values, pack


@pytest.mark.parametrize(("experts", "rows", "blocks"), [(2, 70, 3), (1, 33, 18), (3, 1, 1)])
def test_agrees_with_the_reference(experts: int, rows: int, blocks: int) -> None:
    """Bit for bit, with tiles and groups that are not full."""
    weights = torch.randint(0, 256, (experts, rows, blocks, 16), dtype=torch.uint8)
    scales = torch.randint(0, 256, (experts, rows, blocks), dtype=torch.uint8)
    ours, reference = pack(weights, scales), packed.pack(weights, scales)
    assert torch.equal(ours.words.view(torch.int32), reference.words.view(torch.int32))
    assert torch.equal(ours.scales.view(torch.int16), reference.scales.view(torch.int16))
    assert (ours.rows, ours.columns) == (rows, 32 * blocks)


@triton.jit
def decode_kernel(words, scales, out, ROWS: tl.constexpr):
    row = tl.arange(0, ROWS)
    loaded = tl.load(words + (row[:, None] * 8 + tl.arange(0, 8)[None, :])[None])
    scale = tl.load(scales + row[None, :]).to(tl.uint32)
    for block in tl.static_range(2):
        value = block_values(loaded, block).to(tl.float32) * 16384.0 * block_scale(scale, block)[:, :, None]
        tl.store(out + row[None, :, None] * 64 + block * 32 + tl.arange(0, 32)[None, None, :], value)


def test_decoding_is_exact() -> None:
    """Every code under every scale from 1 to 252; scale 0 gives zeros, as float32 products would."""
    weights = torch.arange(256, dtype=torch.uint8).repeat_interleave(2).roll(1).repeat(16)
    weights = weights[: 256 * 32].view(1, 256, 2, 16)
    scales = torch.arange(512, dtype=torch.int32).view(1, 256, 2).clamp(max=252).to(torch.uint8)
    matrix, out = packed.pack(weights, scales), torch.empty(256, 64)
    decode_kernel[(1,)](matrix.words, matrix.scales, out, ROWS=256)
    wanted = dequantize(weights, scales, torch.float32)[0]
    assert torch.equal(out[1:], wanted[1:])
    assert torch.equal(out[0, 32:], wanted[0, 32:])
    assert not out[0, :32].any()
