"""The product of an MXFP4 row and a vector of integers, by vpshufb and vpdpbusd.

256 bytes hold 16 blocks, of which each gets a lane. A nibble looks up twice its value and 12 more, a byte
without a sign; `fixed_point` says what the vector is. A lane adds up 32 products of at most 24 * 2^22 in
arithmetic modulo 2^32; with the 12 taken back they are at most 12 * 2^22 each, 1.6e9 in all, so the sum of a
block is exact before it becomes a float.
"""

import numpy as np
import torch
from numba import njit

from harmony.kernels.cpu import avx512f
from harmony.kernels.cpu.avx512 import AHEAD
from harmony.kernels.cpu.fixed_point import GROUP, OFFSET, SCALES, SUMS, finish, place
from harmony.kernels.cpu.llvm import (
    add_i32x16,
    as_f32,
    as_numbers_f32x16,
    load_f32x16,
    load_first_i8x16,
    load_first_i32x16,
    load_i8x16,
    load_i32x16,
    multiply_add_f32x16,
    multiply_f32x16,
    prefetch,
    shift_left_8,
    store_f32,
    total_f32x16,
    x86_dot_bytes,
    x86_look_up_high_nibbles,
    x86_look_up_low_nibbles,
    x86_powers_of_blocks,
    x86_word_of_blocks,
    zero_f32x16,
    zero_i32x16,
)
from harmony.kernels.mxfp4 import MAGNITUDES

__all__ = ["ELEMENT", "GROUP", "TABLE", "dot", "dot_two", "finish", "put", "unpack"]

ELEMENT = torch.float32  # of a stored vector before it is finished
_TWICE = np.array([2 * magnitude for magnitude in MAGNITUDES], np.int8)
_BYTES = np.tile(np.concatenate((OFFSET + _TWICE, OFFSET - _TWICE)), 4).astype(np.uint8)
TABLE = np.concatenate((_BYTES, avx512f.TABLE.view(np.uint8)))
WORD_0, WORD_1, WORD_2, WORD_3 = x86_word_of_blocks


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector that is not finished."""
    store_f32(vector + 4 * place(index), as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def _add_word(sums, table, word, vector):
    """Add the products of a word of each block to the sums of three digits."""
    low, high = x86_look_up_low_nibbles(table, word), x86_look_up_high_nibbles(table, word)
    a, b, c = sums
    a = x86_dot_bytes(a, low, load_i32x16(vector))
    b = x86_dot_bytes(b, low, load_i32x16(vector + 64))
    c = x86_dot_bytes(c, low, load_i32x16(vector + 128))
    a = x86_dot_bytes(a, high, load_i32x16(vector + 192))
    b = x86_dot_bytes(b, high, load_i32x16(vector + 256))
    c = x86_dot_bytes(c, high, load_i32x16(vector + 320))
    return a, b, c


@njit(inline="always")
def _add_group(total, words, powers, vector, table):
    sums = zero_i32x16(), zero_i32x16(), load_i32x16(vector + SUMS)
    sums = _add_word(sums, table, words[0], vector)
    sums = _add_word(sums, table, words[1], vector + 384)
    sums = _add_word(sums, table, words[2], vector + 768)
    a, b, c = _add_word(sums, table, words[3], vector + 1152)
    whole = add_i32x16(shift_left_8(add_i32x16(shift_left_8(a), b)), c)
    product = multiply_f32x16(as_numbers_f32x16(whole), load_f32x16(vector + SCALES))
    return multiply_add_f32x16(product, powers, total)


@njit(inline="always")
def _words(a, b, c, d):
    return WORD_0(a, b, c, d), WORD_1(a, b, c, d), WORD_2(a, b, c, d), WORD_3(a, b, c, d)


@njit(inline="always")
def _group(blocks, scales):
    """The words of 16 blocks and the powers of two of their scales."""
    for line in range(0, 256, 64):
        prefetch(blocks + AHEAD + line)
    a, b = load_i32x16(blocks), load_i32x16(blocks + 64)
    c, d = load_i32x16(blocks + 128), load_i32x16(blocks + 192)
    return _words(a, b, c, d), x86_powers_of_blocks(load_i8x16(scales))


@njit(inline="always")
def _first(blocks, number, left):
    """Of register `number` of 4 blocks those of the first `left` blocks of the group, and zeros."""
    return load_first_i32x16(blocks + 64 * number, min(max(4 * left - 16 * number, 0), 16))


@njit(inline="always")
def _tail(blocks, scales, left):
    """The same of fewer blocks, and zeros behind them."""
    a, b = _first(blocks, 0, left), _first(blocks, 1, left)
    c, d = _first(blocks, 2, left), _first(blocks, 3, left)
    return _words(a, b, c, d), x86_powers_of_blocks(load_first_i8x16(scales, left))


@njit(inline="always")
def dot(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements with a finished vector."""
    table, total = load_i32x16(table_at), zero_f32x16()
    groups, left = columns // GROUP, columns % GROUP // 32
    for group in range(groups):
        words, powers = _group(blocks + 256 * group, scales + 16 * group)
        total = _add_group(total, words, powers, vector + 2048 * group, table)
    if left:
        words, powers = _tail(blocks + 256 * groups, scales + 16 * groups, left)
        total = _add_group(total, words, powers, vector + 2048 * groups, table)
    return total_f32x16(total)


@njit(inline="always")
def dot_two(blocks, scales, one, other, columns, table_at):
    """The same for two vectors, whose sums are those that they have alone."""
    table, first, second = load_i32x16(table_at), zero_f32x16(), zero_f32x16()
    groups, left = columns // GROUP, columns % GROUP // 32
    for group in range(groups):
        words, powers = _group(blocks + 256 * group, scales + 16 * group)
        first = _add_group(first, words, powers, one + 2048 * group, table)
        second = _add_group(second, words, powers, other + 2048 * group, table)
    if left:
        words, powers = _tail(blocks + 256 * groups, scales + 16 * groups, left)
        first = _add_group(first, words, powers, one + 2048 * groups, table)
        second = _add_group(second, words, powers, other + 2048 * groups, table)
    return total_f32x16(first), total_f32x16(second)


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    avx512f.unpack(block, scale, target, table_at + 64)
