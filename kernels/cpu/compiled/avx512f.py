"""The product of an MXFP4 row and a vector in float32, by vpermps and fused multiply-adds of 16.

64 bytes hold four blocks. Shifted by 0, 4, 8 ... 28 bits, their 16 words are indices into the table of the
16 values, so that lane l of shift t stands for element 8 l + t; the vector is stored in that order once.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled.avx512 import AHEAD
from harmony.kernels.cpu.compiled.llvm import (
    add_f32x16,
    as_f32,
    as_i32x16,
    load_f32x16,
    load_first_i16x32,
    load_i8x16,
    load_i32,
    load_i32x16,
    load_u8,
    multiply_add_f32x16,
    powers_f32x16,
    prefetch,
    splat_f32x16,
    store_f32,
    store_f32x16,
    total_f32x16,
    widened_i32x16,
    x86_look_up_nibble,
    zero_f32x16,
)
from harmony.kernels.cpu.vectors import AVX512F

GROUP = AVX512F.group  # elements of four blocks
NIBBLE_0, NIBBLE_1, NIBBLE_2, NIBBLE_3, NIBBLE_4, NIBBLE_5, NIBBLE_6, NIBBLE_7 = x86_look_up_nibble


@njit(inline="always")
def place(index):
    """Where element `index` of a vector is stored."""
    return index // GROUP * GROUP + index % 8 * 16 + index % GROUP // 8


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector."""
    store_f32(vector + 4 * place(index), as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def _add_group(total, words, scales, vector, table):
    zero = zero_f32x16()
    even = multiply_add_f32x16(NIBBLE_0(table, words), load_f32x16(vector), zero)
    odd = multiply_add_f32x16(NIBBLE_1(table, words), load_f32x16(vector + 64), zero)
    even = multiply_add_f32x16(NIBBLE_2(table, words), load_f32x16(vector + 128), even)
    odd = multiply_add_f32x16(NIBBLE_3(table, words), load_f32x16(vector + 192), odd)
    even = multiply_add_f32x16(NIBBLE_4(table, words), load_f32x16(vector + 256), even)
    odd = multiply_add_f32x16(NIBBLE_5(table, words), load_f32x16(vector + 320), odd)
    even = multiply_add_f32x16(NIBBLE_6(table, words), load_f32x16(vector + 384), even)
    odd = multiply_add_f32x16(NIBBLE_7(table, words), load_f32x16(vector + 448), odd)
    return multiply_add_f32x16(add_f32x16(even, odd), powers_f32x16(scales), total)


@njit(inline="always")
def _tail(blocks, scales, columns):
    """The words and the scales of the last blocks, which do not fill a group, and zeros behind them."""
    groups, left, powers = columns // GROUP, columns % GROUP // 32, np.int64(0)
    for block in range(left):
        powers |= np.int64(load_u8(scales + 4 * groups + block)) << (8 * block)
    return as_i32x16(load_first_i16x32(blocks + 64 * groups, 8 * left)), np.int32(powers)


@njit(inline="always")
def dot(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements with a stored vector, whose tail is zero."""
    table, total = load_f32x16(table_at), zero_f32x16()
    groups = columns // GROUP
    for group in range(groups):
        at = blocks + 64 * group
        prefetch(at + AHEAD)
        total = _add_group(total, load_i32x16(at), load_i32(scales + 4 * group), vector + 512 * group, table)
    if columns % GROUP:
        words, powers = _tail(blocks, scales, columns)
        total = _add_group(total, words, powers, vector + 512 * groups, table)
    return total_f32x16(total)


@njit(inline="always")
def dot_two(blocks, scales, one, other, columns, table_at):
    """The same for two vectors, whose sums are those that they have alone."""
    table, first, second = load_f32x16(table_at), zero_f32x16(), zero_f32x16()
    groups = columns // GROUP
    for group in range(groups):
        at, place = blocks + 64 * group, 512 * group
        prefetch(at + AHEAD)
        words, powers = load_i32x16(at), load_i32(scales + 4 * group)
        first = _add_group(first, words, powers, one + place, table)
        second = _add_group(second, words, powers, other + place, table)
    if columns % GROUP:
        words, powers = _tail(blocks, scales, columns)
        first = _add_group(first, words, powers, one + 512 * groups, table)
        second = _add_group(second, words, powers, other + 512 * groups, table)
    return total_f32x16(first), total_f32x16(second)


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    table, words = load_f32x16(table_at), widened_i32x16(load_i8x16(block))
    power = splat_f32x16(as_f32(np.int32(max(np.uint32(scale) << 23, np.uint32(1 << 22)))))
    zero = zero_f32x16()
    store_f32x16(target, multiply_add_f32x16(NIBBLE_0(table, words), power, zero))
    store_f32x16(target + 64, multiply_add_f32x16(NIBBLE_1(table, words), power, zero))
