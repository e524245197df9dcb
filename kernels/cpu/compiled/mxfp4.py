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
dot: Any = getattr(LEVEL, "dot", None)  # where there are no products of several vectors


@njit(inline="always")
def _dot_two(blocks, scales, one, two, columns, table_at):
    return dot(blocks, scales, one, columns, table_at), dot(blocks, scales, two, columns, table_at)


@njit(inline="always")
def _of_one(blocks, scales, vector, columns, table_at, following, part):
    first = dot(blocks, scales, vector, columns, table_at)
    return first, dot(blocks + columns // 2, scales + columns // 32, vector, columns, table_at)


@njit(inline="always")
def _of_two(blocks, scales, vectors, columns, table_at, following, part):
    a, c = dot_two(blocks, scales, vectors[0], vectors[1], columns, table_at)
    blocks, scales = blocks + columns // 2, scales + columns // 32
    b, d = dot_two(blocks, scales, vectors[0], vectors[1], columns, table_at)
    return (a, b), (c, d)


@njit(inline="always")
def _of_three(blocks, scales, vectors, columns, table_at, following, part):
    first = (vectors[0], vectors[1])
    a, b = _of_two(blocks, scales, first, columns, table_at, following, part)
    return a, b, _of_one(blocks, scales, vectors[2], columns, table_at, following, part)


@njit(inline="always")
def _of_four(blocks, scales, vectors, columns, table_at, following, part):
    first, last = (vectors[0], vectors[1]), (vectors[2], vectors[3])
    a, b = _of_two(blocks, scales, first, columns, table_at, following, part)
    c, d = _of_two(blocks, scales, last, columns, table_at, following, part)
    return a, b, c, d


@njit(inline="always")
def _as_it_is(vector, columns):
    pass


dot_two = getattr(LEVEL, "dot_two", _dot_two)
of_one, of_two, of_three, of_four = getattr(LEVEL, "PRODUCTS", (_of_one, _of_two, _of_three, _of_four))
finish = getattr(LEVEL, "finish", _as_it_is)  # what a vector needs between `put` and a product


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
