"""The product of an MXFP4 row and a vector of integers, by vpshufb and vpdpbusd.

256 bytes hold 16 blocks, of which each gets a lane. A nibble looks up twice its value and 12 more, a byte
without a sign; `fixed_point` says what the vector is. A lane adds up 32 products of at most 24 * 2^22 in
arithmetic modulo 2^32; with the 12 taken back they are at most 12 * 2^22 each, 1.6e9 in all, so the sum of a
block is exact before it becomes a float.
"""

from typing import Any

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled import avx512f
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
    prefetch_l2,
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
from harmony.kernels.cpu.compiled.streams import LINE

__all__ = ["PRODUCTS", "asked", "finish", "put", "unpack"]

ASKED = 2 * LINE  # bytes at each place for a group of two rows: a word of them asks at one of STREAMS
Steps = tuple[Any, Any, Any, Any, Any]  # the functions that follow, for some vectors
WORD_0, WORD_1, WORD_2, WORD_3 = x86_word_of_blocks


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector that is not finished."""
    store_f32(vector + 4 * place(index), as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def _zero():
    return zero_f32x16(), zero_f32x16()


@njit(inline="always")
def _begin(vector):
    """The sums of three digits for a group of each of two rows."""
    zero, correction = zero_i32x16(), load_i32x16(vector + SUMS)
    return (zero, zero, correction), (zero, zero, correction)


@njit(inline="always")
def _add(sums, weights, vector):
    """Add what some weights of two rows multiply to; a digit is loaded once for both."""
    ((a, b, c), (d, e, f)), (one, other) = sums, weights
    x, y, z = load_i32x16(vector), load_i32x16(vector + 64), load_i32x16(vector + 128)
    a, d = x86_dot_bytes(a, one, x), x86_dot_bytes(d, other, x)
    b, e = x86_dot_bytes(b, one, y), x86_dot_bytes(e, other, y)
    c, f = x86_dot_bytes(c, one, z), x86_dot_bytes(f, other, z)
    return (a, b, c), (d, e, f)


@njit(inline="always")
def _add_number(total, digits, powers, scale):
    a, b, c = digits
    whole = add_i32x16(shift_left_8(add_i32x16(shift_left_8(a), b)), c)
    return multiply_add_f32x16(multiply_f32x16(as_numbers_f32x16(whole), scale), powers, total)


@njit(inline="always")
def _end(totals, sums, powers, vector):
    """Add the numbers that three digits are to the rows' totals."""
    scale = load_f32x16(vector + SCALES)
    first = _add_number(totals[0], sums[0], powers[0], scale)
    return first, _add_number(totals[1], sums[1], powers[1], scale)


@njit(inline="always")
def _moved(vector, size):
    return vector + size


def _both(one: Steps, other: Steps) -> Steps:
    """The steps of some vectors and of some others, for which weights are unpacked once."""
    zero_one, begin_one, add_one, end_one, moved_one = one
    zero_other, begin_other, add_other, end_other, moved_other = other

    @njit(inline="always")
    def zero():
        return zero_one(), zero_other()

    @njit(inline="always")
    def begin(vectors):
        return begin_one(vectors[0]), begin_other(vectors[1])

    @njit(inline="always")
    def add(sums, weights, vectors):
        return add_one(sums[0], weights, vectors[0]), add_other(sums[1], weights, vectors[1])

    @njit(inline="always")
    def end(totals, sums, powers, vectors):
        first = end_one(totals[0], sums[0], powers, vectors[0])
        return first, end_other(totals[1], sums[1], powers, vectors[1])

    @njit(inline="always")
    def moved(vectors, size):
        return moved_one(vectors[0], size), moved_other(vectors[1], size)

    return zero, begin, add, end, moved


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
def asked(columns):
    """How many bytes a product of two rows asks for at each place."""
    return ASKED * ((columns + GROUP - 1) // GROUP)


def _product(steps: Steps) -> Any:
    """The product of two rows and the vectors of these steps, which asks for the rows that follow."""
    zero, begin, add, end, moved = steps

    @njit(inline="always")
    def add_word(sums, word, other, vectors, table, following):
        prefetch_l2(following)
        low = x86_look_up_low_nibbles(table, word), x86_look_up_low_nibbles(table, other)
        sums = add(sums, low, vectors)
        prefetch_l2(following + LINE)
        high = x86_look_up_high_nibbles(table, word), x86_look_up_high_nibbles(table, other)
        return add(sums, high, moved(vectors, 192))

    @njit(inline="always")
    def add_group(totals, rows, vectors, table, following, part):
        (words, powers), (others, other_powers) = rows
        sums = begin(vectors)
        sums = add_word(sums, words[0], others[0], vectors, table, following)
        at, following = moved(vectors, 384), following + part
        sums = add_word(sums, words[1], others[1], at, table, following)
        at, following = moved(vectors, 768), following + part
        sums = add_word(sums, words[2], others[2], at, table, following)
        at, following = moved(vectors, 1152), following + part
        sums = add_word(sums, words[3], others[3], at, table, following)
        return end(totals, sums, (powers, other_powers), vectors)

    @njit(inline="always")
    def product(blocks, scales, vectors, columns, table_at, following, part):
        table, totals, groups = load_i32x16(table_at), zero(), columns // GROUP
        more, other_scales = blocks + columns // 2, scales + columns // 32
        for group in range(groups):
            at, scale = 256 * group, 16 * group
            rows = _group(blocks + at, scales + scale), _group(more + at, other_scales + scale)
            totals = add_group(
                totals, rows, moved(vectors, 2048 * group), table, following + ASKED * group, part
            )
        if columns % GROUP:
            at, scale, left = 256 * groups, 16 * groups, columns % GROUP // 32
            rows = _tail(blocks + at, scales + scale, left), _tail(more + at, other_scales + scale, left)
            totals = add_group(
                totals, rows, moved(vectors, 2048 * groups), table, following + ASKED * groups, part
            )
        return totals

    return product


_ALONE: Steps = (_zero, _begin, _add, _end, _moved)
_TWO = _both(_ALONE, _ALONE)
_one, _two = _product(_ALONE), _product(_TWO)
_three, _four = _product(_both(_TWO, _ALONE)), _product(_both(_TWO, _TWO))


@njit(inline="always")
def _sums(totals):
    return total_f32x16(totals[0]), total_f32x16(totals[1])


@njit(inline="always")
def _of_one(blocks, scales, vector, columns, table_at, following, part):
    """Multiply a row of `columns` packed elements, and the next one, with a finished vector.

    Asks meanwhile for as much at `following`, and at the places that are `part` bytes apart behind it.
    """
    return _sums(_one(blocks, scales, vector, columns, table_at, following, part))


@njit(inline="always")
def _of_two(blocks, scales, vectors, columns, table_at, following, part):
    """The same for two vectors, whose sums are those that they have alone."""
    a, b = _two(blocks, scales, vectors, columns, table_at, following, part)
    return _sums(a), _sums(b)


@njit(inline="always")
def _of_three(blocks, scales, vectors, columns, table_at, following, part):
    grouped = (vectors[0], vectors[1]), vectors[2]
    (a, b), c = _three(blocks, scales, grouped, columns, table_at, following, part)
    return _sums(a), _sums(b), _sums(c)


@njit(inline="always")
def _of_four(blocks, scales, vectors, columns, table_at, following, part):
    grouped = (vectors[0], vectors[1]), (vectors[2], vectors[3])
    (a, b), (c, d) = _four(blocks, scales, grouped, columns, table_at, following, part)
    return _sums(a), _sums(b), _sums(c), _sums(d)


PRODUCTS = _of_one, _of_two, _of_three, _of_four


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    avx512f.unpack(block, scale, target, table_at + 64)
