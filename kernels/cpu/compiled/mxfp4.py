"""MXFP4 rows by the level's instructions, and their unpacking to bfloat16."""

from types import ModuleType
from typing import Any

import numpy as np
from numba import njit

from harmony.kernels.cpu import level
from harmony.kernels.cpu.compiled import avx2, avx512, avx512f, avx512vnni, plain
from harmony.kernels.cpu.compiled.llvm import (
    load_i8x16,
    load_i16x32,
    load_u8,
    load_u16,
    nibbles_i16x32,
    store_i16x32,
    store_u16,
    x86_look_up,
)

LEVEL: ModuleType = {"avx512": avx512, "avx512vnni": avx512vnni, "avx512f": avx512f, "avx2": avx2}.get(
    level(), plain
)
ON_AVX512 = LEVEL is avx512
put = LEVEL.put
dot: Any = getattr(LEVEL, "dot", None)  # not where rows go in pairs anyway


@njit(inline="always")
def _dot_rows(blocks, scales, vector, columns, table_at):
    first = dot(blocks, scales, vector, columns, table_at)
    return first, dot(blocks + columns // 2, scales + columns // 32, vector, columns, table_at)


@njit(inline="always")
def _dot_rows_twice(blocks, scales, one, two, columns, table_at):
    a, c = dot_two(blocks, scales, one, two, columns, table_at)
    b, d = dot_two(blocks + columns // 2, scales + columns // 32, one, two, columns, table_at)
    return a, b, c, d


@njit(inline="always")
def _dot_two(blocks, scales, one, two, columns, table_at):
    return dot(blocks, scales, one, columns, table_at), dot(blocks, scales, two, columns, table_at)


@njit(inline="always")
def _as_it_is(vector, columns):
    pass


dot_two = getattr(LEVEL, "dot_two", _dot_two)
dot_rows = getattr(LEVEL, "dot_rows", _dot_rows)  # a row and the next one with a vector
dot_rows_twice = getattr(LEVEL, "dot_rows_twice", _dot_rows_twice)  # with two
finish = getattr(LEVEL, "finish", _as_it_is)  # what a vector needs between `put` and `dot`


def unpack(arguments, first, last):
    blocks, scales, out, values, groups = (
        arguments[0],
        arguments[1],
        arguments[2],
        arguments[3],
        arguments[4],
    )
    for block in range(first * groups, last * groups):
        table = values + 64 * np.int64(load_u8(scales + block))
        if ON_AVX512:
            codes = nibbles_i16x32(load_i8x16(blocks + 16 * block))
            store_i16x32(out + 64 * block, x86_look_up(load_i16x32(table), codes))
        else:
            for index in range(16):
                byte = np.int64(load_u8(blocks + 16 * block + index))
                store_u16(out + 64 * block + 4 * index, load_u16(table + 2 * (byte & 15)))
                store_u16(out + 64 * block + 4 * index + 2, load_u16(table + 2 * (byte >> 4)))
