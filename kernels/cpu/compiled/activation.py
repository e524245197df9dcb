"""The clamped SwiGLU of one gate and one up value."""

import numpy as np
from numba import njit

from harmony.kernels.cpu.compiled.exponential import exp


@njit(inline="always")
def swiglu(gate, up, alpha, limit):
    """What `harmony.kernels.swiglu` computes, float32."""
    gate = min(gate, limit)
    up = min(max(up, -limit), limit)
    return gate / (np.float32(1) + exp(-alpha * gate)) * (up + np.float32(1))
