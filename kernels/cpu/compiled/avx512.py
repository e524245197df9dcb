"""The product of an MXFP4 row and a vector in bfloat16, by vpermw and vdpbf16ps.

64 bytes hold four blocks. Shifted by 0, 4, 8 and 12 bits, their 32 words are indices into the table of the
16 values, so that lane l of shift t stands for element 4 l + t; the vector is stored in that order once.
"""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled.llvm import (
    add_f32x16,
    load_first_i16x32,
    load_i16x32,
    load_i32,
    load_u8,
    multiply_add_f32x16,
    powers_f32x16,
    prefetch,
    shift_right_4,
    shift_right_8,
    shift_right_12,
    store_u16,
    total_f32x16,
    x86_dot_bf16,
    x86_look_up,
    zero_f32x16,
)
from harmony.kernels.cpu.vectors import AVX512

GROUP = AVX512.group  # elements of four blocks
AHEAD = 8192  # bytes of weights between what is computed and what is asked for


@njit(inline="always")
def place(index):
    """Where element `index` of a vector is stored."""
    return index // GROUP * GROUP + index % 4 * 32 + index % GROUP // 4


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector."""
    store_u16(vector + 2 * place(index), bits)


@njit(inline="always")
def _add_group(total, words, scales, vector, table):
    zero = zero_f32x16()
    even = x86_dot_bf16(zero, x86_look_up(table, words), load_i16x32(vector))
    odd = x86_dot_bf16(zero, x86_look_up(table, shift_right_4(words)), load_i16x32(vector + 64))
    even = x86_dot_bf16(even, x86_look_up(table, shift_right_8(words)), load_i16x32(vector + 128))
    odd = x86_dot_bf16(odd, x86_look_up(table, shift_right_12(words)), load_i16x32(vector + 192))
    return multiply_add_f32x16(add_f32x16(even, odd), powers_f32x16(scales), total)


@njit(inline="always")
def dot(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements with a stored vector, whose tail is zero."""
    table, total = load_i16x32(table_at), zero_f32x16()
    groups = columns // GROUP
    for group in range(groups):
        at = blocks + 64 * group
        prefetch(at + AHEAD)
        total = _add_group(total, load_i16x32(at), load_i32(scales + 4 * group), vector + 256 * group, table)
    left = columns % GROUP // 32
    if left:
        tail = np.int64(0)
        for block in range(left):
            tail |= np.int64(load_u8(scales + 4 * groups + block)) << (8 * block)
        words = load_first_i16x32(blocks + 64 * groups, 8 * left)
        total = _add_group(total, words, np.int32(tail), vector + 256 * groups, table)
    return total_f32x16(total)
