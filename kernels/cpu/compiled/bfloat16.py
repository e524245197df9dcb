"""bfloat16 numbers in kernels: 16 bits in memory, float32 in a register."""

import numpy as np
from numba import carray, njit

from harmony.kernels.cpu.compiled.llvm import as_f32, as_i32, load_u16, pointer_f32, pointer_u16, store_u16


@njit(inline="always")
def load(address, index):
    """Element `index` of the bfloat16 numbers at an address."""
    return as_f32(np.int32(np.uint32(load_u16(address + 2 * index)) << 16))


@njit(inline="always")
def rounded(value):
    """The bits of the nearest bfloat16, ties to even; what is no number stays none."""
    bits = np.uint32(as_i32(value))
    if (bits & 0x7FFFFFFF) > 0x7F800000:
        return np.uint16(bits >> 16 | 0x40)
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


@njit(inline="always")
def store(address, index, value):
    store_u16(address + 2 * index, rounded(np.float32(value)))


@njit(inline="always")
def value(bits):
    """The number that 16 bits stand for."""
    return as_f32(np.int32(np.uint32(bits) << 16))


@njit(fastmath={"contract", "reassoc", "nsz"})
def dot(row, vector, columns):
    """Multiply `columns` bfloat16 numbers with as many float32 ones."""
    numbers = carray(pointer_u16(row), columns)
    factors = carray(pointer_f32(vector), columns)
    total = np.float32(0)
    for column in range(columns):
        total += value(numbers[column]) * factors[column]
    return total
