"""Repack MXFP4 on the device, and decode what was packed (`harmony.kernels.packed` says how it lies)."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.mxfp4 import BLOCK
from harmony.kernels.packed import PackedMatrix
from harmony.kernels.triton.launch import await_previous, launch

ROWS, GROUPS = 32, 8  # of one program: it reads runs of 256 bytes and writes runs of 1 KiB


@triton.jit
def pack_kernel(
    source,  # uint32 [E, rows, blocks, 4]
    source_scales,  # uint8 [E, rows, blocks]
    words,  # uint32 [E, groups, rows, 2, 4]
    scales,  # uint16 [E, groups, rows]
    rows,
    blocks,
    groups,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    group = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    expert = tl.program_id(2).to(tl.int64)
    inside = (row < rows)[:, None] & (group < groups)[None, :]
    block = 2 * group
    row_start = expert * rows + row
    first = row_start[:, None] * blocks + block[None, :]
    second_inside = inside & (block + 1 < blocks)[None, :]
    target = (expert * groups + group[None, :]) * rows + row[:, None]

    low_scale = tl.load(source_scales + first, mask=inside, other=0).to(tl.uint16)
    high_scale = tl.load(source_scales + first + 1, mask=second_inside, other=0).to(tl.uint16)
    tl.store(scales + target, low_scale | (high_scale << 8), mask=inside)

    # Word 4 h + t of a group takes byte t of the source words h, 2 + h, 4 + h and 6 + h.
    half = tl.arange(0, 2)[None, None, :]
    start = source + first[:, :, None] * 4 + half
    pair0 = tl.load(start, mask=inside[:, :, None], other=0)
    pair1 = tl.load(start + 2, mask=inside[:, :, None], other=0)
    pair2 = tl.load(start + 4, mask=second_inside[:, :, None], other=0)
    pair3 = tl.load(start + 6, mask=second_inside[:, :, None], other=0)
    even = tl.join(_word(pair0, pair1, pair2, pair3, 0), _word(pair0, pair1, pair2, pair3, 2))
    odd = tl.join(_word(pair0, pair1, pair2, pair3, 1), _word(pair0, pair1, pair2, pair3, 3))
    packed = tl.reshape(tl.join(even, odd), (ROWS, GROUPS, 8))
    column = tl.arange(0, 8)[None, None, :]
    tl.store(words + target[:, :, None] * 8 + column, packed, mask=inside[:, :, None])


@triton.jit
def _word(pair0, pair1, pair2, pair3, byte: tl.constexpr):
    word = _place(pair0 >> (8 * byte), 15, 9) | _place(pair1 >> (8 * byte), 12, 6)
    return word | _place(pair2 >> (8 * byte), 14, 3) | _place(pair3 >> (8 * byte), 13, 0)


@triton.jit
def _place(byte, sign: tl.constexpr, code: tl.constexpr):
    low = (((byte >> 3) & 1) << sign) | ((byte & 7) << code)
    return low | (((byte >> 7) & 1) << (sign + 16)) | (((byte >> 4) & 7) << (code + 16))


def pack(blocks: Tensor, scales: Tensor) -> PackedMatrix:
    """As `harmony.kernels.packed.pack`, in one pass over the weights."""
    experts, rows, count = scales.shape
    groups = -(-count // 2)
    words = torch.empty(experts, groups, rows, 8, dtype=torch.uint32, device=blocks.device)
    packed_scales = torch.empty(experts, groups, rows, dtype=torch.uint16, device=blocks.device)
    launch(
        pack_kernel,
        (triton.cdiv(rows, ROWS), triton.cdiv(groups, GROUPS), experts),
        blocks.contiguous().view(torch.uint32),
        scales.contiguous(),
        words,
        packed_scales,
        rows,
        count,
        groups,
        ROWS=ROWS,
        GROUPS=GROUPS,
    )
    return PackedMatrix(words, packed_scales, rows, count * BLOCK)


@triton.jit
def block_values(words, block: tl.constexpr):
    """Decode `words` uint32 [S, R, 8] to the values of one of their two blocks, times 2^-14.

    Float16 [S, R, 32], exact. Pairs 2 and 3 move sign and code by two shifts in one multiplication; the
    masks around it keep the fields apart.
    """
    if block == 0:
        pairs = tl.join(words & 0x8E008E00, (words << 3) & 0x8E008E00)
    else:
        third = ((words & 0x40384038) * 66) & 0x8E008E00
        fourth = ((words & 0x20072007) * 516) & 0x8E008E00
        pairs = tl.join(third, fourth)
    pairs = tl.permute(pairs, (0, 1, 3, 2))
    low = (pairs & 0xFFFF).to(tl.uint16).to(tl.float16, bitcast=True)
    high = (pairs >> 16).to(tl.uint16).to(tl.float16, bitcast=True)
    return tl.reshape(tl.join(low, high), (words.shape[0], words.shape[1], 32))


@triton.jit
def block_scale(scales, block: tl.constexpr):
    """2^(s - 127) as float32 for scale byte s of one block of `scales` uint32; 0 for s = 0."""
    return (((scales >> (8 * block)) & 255) << 23).to(tl.float32, bitcast=True)
