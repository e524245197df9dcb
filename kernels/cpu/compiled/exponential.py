"""The exponential in float32, of arithmetic that LLVM can do on many numbers at once."""

import math

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled.llvm import as_f32

LOG2_E = np.float32(1 / math.log(2))
L0, L1 = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)  # ln 2; the first has few bits
LEAST, MOST = np.float32(-104.5), np.float32(88.7)  # below it is 0, above it stays what it is there
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@njit(inline="always")
def exp(x):
    """e^x, off by less than 2e-7 of it; the coefficients are those of Cephes' expf (Moshier 1989)."""
    bounded = min(max(x, LEAST), MOST)
    power = np.int32(math.floor(bounded * LOG2_E + np.float32(0.5)))
    times = np.float32(power)
    r = bounded - times * L0 - times * L1
    value = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    value = value * r * r + r + np.float32(1)
    half = power >> np.int32(1)  # 2^power may have no exponent bits, its two factors have
    return value * _power(half) * _power(power - half)


@njit(inline="always")
def _power(exponent):
    return as_f32((exponent + np.int32(127)) << np.int32(23))
