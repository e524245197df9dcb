"""The product of an MXFP4 row and a vector in float32, by pshufb and fused multiply-adds.

A nibble looks up twice its value, a small integer, which becomes a float; the vector is stored halved.
Each block of the vector is stored with its even elements first, for those are the low nibbles.
"""

import numpy as np
import torch
from numba import njit

from harmony.kernels.cpu.llvm import (
    as_f32,
    first_half_f32x8,
    high_nibbles,
    load_f32x8,
    load_i8x16,
    load_u8,
    low_nibbles,
    multiply_add_f32x8,
    second_half_f32x8,
    splat_f32x8,
    store_f32,
    total_f32x8,
    x86_look_up_bytes,
    zero_f32x8,
)
from harmony.kernels.mxfp4 import MAGNITUDES

GROUP = 32
ELEMENT = torch.float32  # of a stored vector
TWICE = np.array([2 * magnitude for magnitude in MAGNITUDES], np.int8)
TABLE = np.concatenate((TWICE, -TWICE))


@njit(inline="always")
def place(index):
    """Where element `index` of a vector is stored."""
    return index // 32 * 32 + index % 2 * 16 + index % 32 // 2


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector."""
    store_f32(vector + 4 * place(index), np.float32(0.5) * as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def dot(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements with a stored vector."""
    table = load_i8x16(table_at)
    even, odd = zero_f32x8(), zero_f32x8()
    for block in range(columns // 32):
        packed, at = load_i8x16(blocks + 16 * block), vector + 128 * block
        low = x86_look_up_bytes(table, low_nibbles(packed))
        high = x86_look_up_bytes(table, high_nibbles(packed))
        a = multiply_add_f32x8(first_half_f32x8(low), load_f32x8(at), zero_f32x8())
        b = multiply_add_f32x8(second_half_f32x8(low), load_f32x8(at + 32), zero_f32x8())
        a = multiply_add_f32x8(first_half_f32x8(high), load_f32x8(at + 64), a)
        b = multiply_add_f32x8(second_half_f32x8(high), load_f32x8(at + 96), b)
        scale = np.uint32(load_u8(scales + block))
        power = splat_f32x8(as_f32(np.int32(max(scale << 23, np.uint32(1 << 22)))))
        even, odd = multiply_add_f32x8(a, power, even), multiply_add_f32x8(b, power, odd)
    return total_f32x8(even) + total_f32x8(odd)
