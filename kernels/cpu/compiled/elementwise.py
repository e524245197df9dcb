"""What touches each number once: RMS normalisation and rotation, in one pass each."""

import math

import numpy as np
from numba import carray, njit

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.llvm import load_f32, pointer_f32, pointer_u16


@njit(fastmath={"contract", "reassoc", "nsz"})
def _norm(x, scale, eps, out, width):
    numbers, scales = carray(pointer_u16(x), width), carray(pointer_f32(scale), width)
    rounded = carray(pointer_u16(out), width)
    squares = np.float32(0)
    for index in range(width):
        squares += bfloat16.value(numbers[index]) ** 2
    factor = np.float32(1 / math.sqrt(squares / np.float32(width) + eps))
    for index in range(width):
        rounded[index] = bfloat16.rounded(bfloat16.value(numbers[index]) * factor * scales[index])


def rms_norm(arguments, first, last):
    x, scale, eps, out, width = arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]
    for row in range(first, last):
        _norm(x + 2 * row * width, scale, load_f32(eps), out + 2 * row * width, width)


@njit(fastmath={"contract"})
def turn(x, cos, sin, out, half):
    numbers, turned = carray(pointer_u16(x), 2 * half), carray(pointer_u16(out), 2 * half)
    cosines, sines = carray(pointer_f32(cos), half), carray(pointer_f32(sin), half)
    for index in range(half):
        a, b = bfloat16.value(numbers[index]), bfloat16.value(numbers[half + index])
        turned[index] = bfloat16.rounded(a * cosines[index] - b * sines[index])
        turned[half + index] = bfloat16.rounded(b * cosines[index] + a * sines[index])


def rotate(arguments, first, last):
    x, cos, sin = arguments[0], arguments[1], arguments[2]
    out, heads, half = arguments[3], arguments[4], arguments[5]
    for token in range(first, last):
        angles = 4 * token * half
        for head in range(token * heads, (token + 1) * heads):
            turn(x + 4 * head * half, cos + angles, sin + angles, out + 4 * head * half, half)
