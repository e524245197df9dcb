"""MXFP4 as the GPU kernels read it: the checkpoint's bytes, moved so that decoding takes few instructions.

A nibble whose sign stands at bit 15 of a half word and whose code stands at bits 11 to 9 is a float16:
its value times 2^-14, exactly, subnormal codes included. So 64 values of a row (two blocks) become eight
32-bit words, and each word gives four pairs of float16 by one shift or multiplication and one mask each:
pair p of word j holds values 16 p + 2 j and 16 p + 2 j + 1, in the low and in the high half word. The two
scale bytes of such a group become one 16-bit word. Words of one group lie side by side for all rows, so a
tile of rows is one run of memory. The bytes are as many as in the checkpoint.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.kernels.mxfp4 import BLOCK

GROUP = 2 * BLOCK
HOMES = ((15, 9), (12, 6), (14, 3), (13, 0))  # of sign and code in a half word, for pairs 0 to 3


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatrix:
    """E matrices [rows, columns]: `words` uint32 [E, G, rows, 8] and `scales` uint16 [E, G, rows].

    G = columns / 64, rounded up: half a group at the end is filled with zeros.
    """

    words: Tensor
    scales: Tensor
    rows: int
    columns: int

    @property
    def groups(self) -> int:
        return self.words.shape[1]


def pack(blocks: Tensor, scales: Tensor) -> PackedMatrix:
    """Pack `blocks` uint8 [E, rows, columns / 32, 16] and `scales` uint8 [E, rows, columns / 32]."""
    if blocks.is_cuda:
        from harmony.kernels.triton.packing import pack as on_device

        return on_device(blocks, scales)
    experts, rows, count = scales.shape
    half = count % 2
    blocks = torch.nn.functional.pad(blocks, (0, 0, 0, half)).view(experts, rows, -1, 4, 8)
    scales = torch.nn.functional.pad(scales, (0, half)).view(experts, rows, -1, 2)
    words = torch.zeros(*blocks.shape[:3], 8, dtype=torch.int64, device=blocks.device)
    for pair, (sign, code) in enumerate(HOMES):
        for shift, nibble in ((0, blocks[..., pair, :] & 15), (16, blocks[..., pair, :] >> 4)):
            placed = nibble.long()
            words |= (placed >> 3) << (sign + shift) | (placed & 7) << (code + shift)
    words = words.to(torch.uint32)
    both = scales.contiguous().view(torch.uint16)[..., 0]
    return PackedMatrix(
        _swapped(words.view(torch.int32)).view(torch.uint32),
        _swapped(both.view(torch.int16)).view(torch.uint16),
        rows,
        count * BLOCK,
    )


def unpack(matrix: PackedMatrix) -> tuple[Tensor, Tensor]:
    """The inverse of `pack`: blocks and scales as the checkpoint has them."""
    words = matrix.words.view(torch.int32).transpose(1, 2).long() & 0xFFFFFFFF
    experts, rows, groups, _ = words.shape
    bytes_ = torch.empty(experts, rows, groups, 4, 8, dtype=torch.uint8, device=words.device)
    for pair, (sign, code) in enumerate(HOMES):
        low, high = ((words >> (sign + shift) & 1) << 3 | words >> (code + shift) & 7 for shift in (0, 16))
        bytes_[..., pair, :] = low | high << 4
    scales = _swapped(matrix.scales.view(torch.int16)).view(torch.uint8)
    count = matrix.columns // BLOCK
    return bytes_.view(experts, rows, 2 * groups, 16)[:, :, :count].contiguous(), scales[
        :, :, :count
    ].contiguous()


def _swapped(tensor: Tensor) -> Tensor:
    return tensor.transpose(1, 2).clone(memory_format=torch.contiguous_format)
