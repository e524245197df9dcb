"""The product of an MXFP4 row and a vector in float32, as loops that LLVM turns into what the CPU has.

A nibble becomes twice its value by integer arithmetic; the vector is stored halved, and each block of it
with its even elements first, for those are the low nibbles.
"""

import numpy as np
from numba import carray, njit

from harmony.kernels.cpu.compiled.llvm import as_f32, load_u8, pointer_f32, pointer_u8, store_f32


@njit(inline="always")
def place(index):
    """Where element `index` of a vector is stored."""
    return index // 32 * 32 + index % 2 * 16 + index % 32 // 2


@njit(inline="always")
def put(vector, index, bits):
    """Store a bfloat16 value, given as its bits, as element `index` of a vector."""
    store_f32(vector + 4 * place(index), np.float32(0.5) * as_f32(np.int32(np.uint32(bits) << 16)))


@njit(inline="always")
def _twice(code):
    """Twice the value of a nibble, by arithmetic that LLVM can do on many at once."""
    magnitude = code & 7
    twice = max(magnitude, max(2 * magnitude - 4, 4 * magnitude - 16))
    return np.float32(twice - (code >> 3) * 2 * twice)


@njit(fastmath={"contract", "reassoc", "nsz"})
def _block(block, vector):
    packed, factors = carray(pointer_u8(block), 16), carray(pointer_f32(vector), 32)
    total = np.float32(0)
    for index in range(16):
        byte = np.int32(packed[index])
        total += _twice(byte & np.int32(15)) * factors[index]
        total += _twice(byte >> np.int32(4)) * factors[16 + index]
    return total


@njit(inline="always")
def dot(blocks, scales, vector, columns, table_at):
    """Multiply a row of `columns` packed elements with a stored vector."""
    total = np.float32(0)
    for block in range(columns // 32):
        scale = np.uint32(load_u8(scales + block))
        power = as_f32(np.int32(max(scale << 23, np.uint32(1 << 22))))
        total += power * _block(blocks + 16 * block, vector + 128 * block)
    return total


@njit(inline="always")
def unpack(block, scale, target, table_at):
    """Write the 32 elements of a block to `target` as float32, first the even ones."""
    power = as_f32(np.int32(max(np.uint32(scale) << 23, np.uint32(1 << 22)))) * np.float32(0.5)
    packed, elements = carray(pointer_u8(block), 16), carray(pointer_f32(target), 32)
    for index in range(16):
        byte = np.int32(packed[index])
        elements[index] = _twice(byte & np.int32(15)) * power
        elements[16 + index] = _twice(byte >> np.int32(4)) * power
