"""The product of an MXFP4 row and a vector in float32, by pshufb and fused multiply-adds.

A nibble looks up twice its value, a small integer, which becomes a float.
The vector is stored as `plain` stores it.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled.llvm import (
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
    store_f32x8,
    total_f32x8,
    x86_look_up_bytes,
    zero_f32x8,
)
from harmony.kernels.cpu.compiled.plain import place, put

__all__ = ["dot", "place", "put", "unpack"]


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


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    table, packed = load_i8x16(table_at), load_i8x16(block)
    low = x86_look_up_bytes(table, low_nibbles(packed))
    high = x86_look_up_bytes(table, high_nibbles(packed))
    power = as_f32(np.int32(max(np.uint32(scale) << 23, np.uint32(1 << 22))))
    half, zero = splat_f32x8(power * np.float32(0.5)), zero_f32x8()
    store_f32x8(target, multiply_add_f32x8(first_half_f32x8(low), half, zero))
    store_f32x8(target + 32, multiply_add_f32x8(second_half_f32x8(low), half, zero))
    store_f32x8(target + 64, multiply_add_f32x8(first_half_f32x8(high), half, zero))
    store_f32x8(target + 96, multiply_add_f32x8(second_half_f32x8(high), half, zero))
