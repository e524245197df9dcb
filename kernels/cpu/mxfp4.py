"""MXFP4 rows by the level's instructions, and their unpacking to bfloat16."""

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from harmony.kernels.cpu import avx2, avx512, avx512f, avx512vnni, level, plain
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import (
    load_i8x16,
    load_i16x32,
    load_u8,
    load_u16,
    nibbles_i16x32,
    store_i16x32,
    store_u16,
    x86_look_up,
)
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.tape import empty
from harmony.kernels.mxfp4 import MAGNITUDES, SCALE_BIAS

LEVEL: ModuleType = {"avx512": avx512, "avx512vnni": avx512vnni, "avx512f": avx512f, "avx2": avx2}.get(
    level(), plain
)
ON_AVX512 = LEVEL is avx512
put = LEVEL.put
dot: Any = getattr(LEVEL, "dot", None)  # not where rows go in pairs anyway
TABLE = torch.from_numpy(LEVEL.TABLE)
SIZE = LEVEL.ELEMENT.itemsize  # bytes of an element of a stored vector


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


def padded(width: int) -> int:
    """How many elements a stored vector of this width has."""
    group = int(LEVEL.GROUP)
    return -(-width // group) * group


def stored(rows: int, width: int) -> Tensor:
    """Room for vectors as `dot` reads and `put` writes them, [rows, padded(width)]; the tail must be zero."""
    return empty(rows, padded(width), dtype=LEVEL.ELEMENT)


def unpack(blocks: Tensor, scales: Tensor, out: Tensor) -> None:
    """Write `blocks` uint8 [rows, G, 16] with `scales` uint8 [rows, G] to `out` bfloat16 [rows, 32 G].

    Gives what `harmony.kernels.mxfp4.dequantize` gives, bit by bit.
    """
    rows, groups = scales.shape
    assert blocks.shape == (rows, groups, 16), (blocks.shape, scales.shape)
    assert out.shape == (rows, 32 * groups), (out.shape, scales.shape)
    pool().run(_unpack, rows, blocks, scales, out, _values(), groups)


@cache
def _values() -> Tensor:
    """The sixteen values at each scale, twice, as bfloat16 [256, 32]."""
    magnitudes = torch.tensor(MAGNITUDES)
    powers = 2.0 ** (torch.arange(256, dtype=torch.float64) - SCALE_BIAS)
    powers[255] = float("nan")
    values = torch.cat((magnitudes, -magnitudes)).tile(2) * powers[:, None]
    return values.float().bfloat16()


@kernel
def _unpack(arguments, first, last):
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
