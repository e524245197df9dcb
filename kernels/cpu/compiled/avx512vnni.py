"""The product of an MXFP4 row and a vector of integers, by vpshufb and vpdpbusd.

256 bytes hold 16 blocks, of which each gets a lane. A nibble looks up twice its value and 12 more, a byte
without a sign; `fixed_point` says what the vector is. A lane adds up 32 products of at most 24 * 2^22 in
arithmetic modulo 2^32; with the 12 taken back they are at most 12 * 2^22 each, 1.6e9 in all, so the sum of a
block is exact before it becomes a float.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled import avx512f
from harmony.kernels.cpu.compiled.avx512 import AHEAD
from harmony.kernels.cpu.compiled.fixed_point import GROUP, SCALES, SUMS, finish, place
from harmony.kernels.cpu.compiled.llvm import (
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

__all__ = ["dot_rows", "dot_rows_twice", "finish", "put", "unpack"]

WORD_0, WORD_1, WORD_2, WORD_3 = x86_word_of_blocks


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector that is not finished."""
    store_f32(vector + 4 * place(index), as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def _begun(vector):
    """The sums of three digits for each of two rows."""
    zero, correction = zero_i32x16(), load_i32x16(vector + SUMS)
    return (zero, zero, correction), (zero, zero, correction)


@njit(inline="always")
def _add(sums, weights, others, vector):
    """Add what some weights of two rows multiply to; a digit is loaded once for both."""
    (a, b, c), (d, e, f) = sums
    x, y, z = load_i32x16(vector), load_i32x16(vector + 64), load_i32x16(vector + 128)
    a, d = x86_dot_bytes(a, weights, x), x86_dot_bytes(d, others, x)
    b, e = x86_dot_bytes(b, weights, y), x86_dot_bytes(e, others, y)
    c, f = x86_dot_bytes(c, weights, z), x86_dot_bytes(f, others, z)
    return (a, b, c), (d, e, f)


@njit(inline="always")
def _add_word(sums, word, other, vector, table):
    low, other_low = x86_look_up_low_nibbles(table, word), x86_look_up_low_nibbles(table, other)
    sums = _add(sums, low, other_low, vector)
    high, other_high = x86_look_up_high_nibbles(table, word), x86_look_up_high_nibbles(table, other)
    return _add(sums, high, other_high, vector + 192)


@njit(inline="always")
def _add_word_to_both(first, second, word, other, one, two, table):
    low, other_low = x86_look_up_low_nibbles(table, word), x86_look_up_low_nibbles(table, other)
    first, second = _add(first, low, other_low, one), _add(second, low, other_low, two)
    high, other_high = x86_look_up_high_nibbles(table, word), x86_look_up_high_nibbles(table, other)
    return _add(first, high, other_high, one + 192), _add(second, high, other_high, two + 192)


@njit(inline="always")
def _add_number(total, digits, powers, vector):
    a, b, c = digits
    whole = add_i32x16(shift_left_8(add_i32x16(shift_left_8(a), b)), c)
    product = multiply_f32x16(as_numbers_f32x16(whole), load_f32x16(vector + SCALES))
    return multiply_add_f32x16(product, powers, total)


@njit(inline="always")
def _add_numbers(totals, sums, powers, vector):
    return (
        _add_number(totals[0], sums[0], powers[0], vector),
        _add_number(totals[1], sums[1], powers[1], vector),
    )


@njit(inline="always")
def _add_group(totals, rows, vector, table):
    (words, others), powers = rows
    sums = _begun(vector)
    sums = _add_word(sums, words[0], others[0], vector, table)
    sums = _add_word(sums, words[1], others[1], vector + 384, table)
    sums = _add_word(sums, words[2], others[2], vector + 768, table)
    sums = _add_word(sums, words[3], others[3], vector + 1152, table)
    return _add_numbers(totals, sums, powers, vector)


@njit(inline="always")
def _add_group_to_both(totals, rows, one, two, table):
    (words, others), powers = rows
    a, b = _begun(one), _begun(two)
    a, b = _add_word_to_both(a, b, words[0], others[0], one, two, table)
    a, b = _add_word_to_both(a, b, words[1], others[1], one + 384, two + 384, table)
    a, b = _add_word_to_both(a, b, words[2], others[2], one + 768, two + 768, table)
    a, b = _add_word_to_both(a, b, words[3], others[3], one + 1152, two + 1152, table)
    return _add_numbers(totals[0], a, powers, one), _add_numbers(totals[1], b, powers, two)


@njit(inline="always")
def _words(a, b, c, d):
    return WORD_0(a, b, c, d), WORD_1(a, b, c, d), WORD_2(a, b, c, d), WORD_3(a, b, c, d)


@njit(inline="always")
def _group(blocks, scales):
    """The words of 16 blocks and the powers of two of their scales."""
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
def _ask(blocks, size):
    """Ask for the blocks of two rows one line after the other, so that the CPU sees one stream of them."""
    for line in range(0, size, 64):
        prefetch(blocks + AHEAD + line)


@njit(inline="always")
def _groups(blocks, scales, columns, group):
    """Those of a row and of the next one."""
    _ask(blocks + 512 * group, 512)
    words, powers = _group(blocks + 256 * group, scales + 16 * group)
    others, other_powers = _group(blocks + columns // 2 + 256 * group, scales + columns // 32 + 16 * group)
    return (words, others), (powers, other_powers)


@njit(inline="always")
def _tails(blocks, scales, columns):
    groups, left = columns // GROUP, columns % GROUP // 32
    _ask(blocks + 512 * groups, columns % GROUP)
    blocks, scales = blocks + 256 * groups, scales + 16 * groups
    words, powers = _tail(blocks, scales, left)
    others, other_powers = _tail(blocks + columns // 2, scales + columns // 32, left)
    return (words, others), (powers, other_powers)


@njit(inline="always")
def dot_rows(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements, and the row behind it, with a finished vector."""
    table, totals = load_i32x16(table_at), (zero_f32x16(), zero_f32x16())
    groups = columns // GROUP
    for group in range(groups):
        rows = _groups(blocks, scales, columns, group)
        totals = _add_group(totals, rows, vector + 2048 * group, table)
    if columns % GROUP:
        totals = _add_group(totals, _tails(blocks, scales, columns), vector + 2048 * groups, table)
    return total_f32x16(totals[0]), total_f32x16(totals[1])


@njit(inline="always")
def dot_rows_twice(blocks, scales, one, two, columns, table_at):
    """The same for two vectors, whose sums are those that they have alone: two of `one`, two of `two`."""
    table, zeros = load_i32x16(table_at), (zero_f32x16(), zero_f32x16())
    totals, groups = (zeros, zeros), columns // GROUP
    for group in range(groups):
        rows = _groups(blocks, scales, columns, group)
        totals = _add_group_to_both(totals, rows, one + 2048 * group, two + 2048 * group, table)
    if columns % GROUP:
        rows = _tails(blocks, scales, columns)
        totals = _add_group_to_both(totals, rows, one + 2048 * groups, two + 2048 * groups, table)
    (a, b), (c, d) = totals
    return total_f32x16(a), total_f32x16(b), total_f32x16(c), total_f32x16(d)


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    avx512f.unpack(block, scale, target, table_at + 64)
