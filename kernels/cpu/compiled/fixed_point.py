"""Vectors of integers for `avx512vnni`: of each 32 numbers, those that a block of MXFP4 meets, one exponent.

A group is 16 blocks, one in each lane of a register. As float32 it is 32 registers, of which 8 j + 4 p + i
has elements 8 j + 2 i + p of the blocks: the order of their packed nibbles. As integers it is, in the same
memory, 24 registers of bytes, which for each j and p hold the digits of 65536, of 256 and of 1, from -128
to 127; then int32 -12 times the sum of each block, which takes back what the table of weights adds to each
of them; then the float32 scale of each block, half of an integer's unit, because that table has twice the
weights.

An element x is the integer nearest to x 2^(21 - E), of at most 2^22, where E is the exponent of its block's
largest. So bfloat16 numbers are exact down to 14 powers of two below the largest, and the others off by no
more than 2^-22 of it. E is at least -104, so that all factors are normal numbers: then x is off by no more
than 2^-126. The scale of a block with an infinite number, or one that is none, is none; so are its
products.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types

from harmony.kernels.cpu.compiled.llvm import I64, f32x16, i32x16, operation, x86_nearest
from harmony.kernels.cpu.vectors import AVX512VNNI, OFFSET

GROUP, BLOCK, LANES = AVX512VNNI.group, 32, 16
SUMS, SCALES = 24 * 64, 25 * 64  # bytes before them in a group
LEAST = 127 - 104  # of the exponents' bits
NO_NUMBER = 0x7FC00000


@njit(inline="always")
def place(index):
    """Where element `index` of a vector is stored before it is finished."""
    block, element = index % GROUP // BLOCK, index % BLOCK
    register = element // 8 * 8 + element % 2 * 4 + element % 8 // 2
    return index // GROUP * GROUP + register * LANES + block % 4 * 4 + block // 4


@njit(inline="always")
def finish(vector, columns):
    """Turn a vector of float32, with zeros behind its `columns`, into one of integers where it lies."""
    for group in range((columns + GROUP - 1) // GROUP):
        _finish(vector + 4 * GROUP * group)


def _all(number: int) -> Any:
    return ir.Constant(i32x16.ir, [number] * LANES)


@operation(types.void, types.int64)
def _finish(builder: Any, address: Any) -> Any:
    registers = builder.inttoptr(address, i32x16.ir.as_pointer())

    def load(index: int) -> Any:
        return builder.load(builder.gep(registers, [I64(index)]), align=4)

    def store(value: Any, index: int) -> None:
        builder.store(value, builder.gep(registers, [I64(index)]), align=4)

    def larger(a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_unsigned(">", a, b), a, b)

    top = _all(0)
    for index in range(BLOCK):
        top = larger(top, builder.and_(load(index), _all(0x7FFFFFFF)))
    exponent = larger(builder.lshr(top, _all(23)), _all(LEAST))
    factor = builder.bitcast(builder.shl(builder.sub(_all(127 + 127 + 21), exponent), _all(23)), f32x16.ir)
    scale = builder.shl(builder.sub(exponent, _all(22)), _all(23))
    scale = builder.select(builder.icmp_unsigned("<", top, _all(0x7F800000)), scale, _all(NO_NUMBER))
    total = _all(0)
    for four in range(BLOCK // 4):
        shifted = []
        for index in range(4):
            value = builder.bitcast(load(4 * four + index), f32x16.ir)
            integer = x86_nearest(builder, builder.fmul(value, factor))
            total = builder.add(total, integer)
            shifted.append(builder.add(integer, _all(0x808080)))
        for digit in (2, 1, 0):
            bytes_ = _all(0)
            for index, number in enumerate(shifted):
                byte = builder.and_(builder.lshr(number, _all(8 * digit)), _all(0xFF))
                bytes_ = builder.or_(bytes_, builder.shl(byte, _all(8 * index)))
            store(builder.xor(bytes_, _all(0x80808080)), 3 * four + 2 - digit)
    store(builder.mul(total, _all(-OFFSET)), SUMS // 64)
    store(scale, SCALES // 64)
