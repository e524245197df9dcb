"""What touches each number once: RMS normalisation and rotation, in one pass each."""

from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import compute_rows, numbers
from harmony.kernels.cpu.tape import empty


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """What `harmony.kernels.rms_norm.rms_norm` computes, on bfloat16 `x` and float32 `scale`."""
    x, out = x.contiguous(), empty(*x.shape, dtype=x.dtype)
    width = x.shape[-1]
    compute_rows(kernel("elementwise.rms_norm"), x.numel() // width, x, scale, numbers(eps), out, width)
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """What `harmony.kernels.rope.rotate` computes, on bfloat16 `x` and float32 `cos` and `sin`."""
    x, out = x.contiguous(), empty(*x.shape, dtype=x.dtype)
    compute_rows(kernel("elementwise.rotate"), len(x), x, cos, sin, out, x.shape[1], x.shape[2] // 2)
    return out
