"""Root-mean-square normalisation."""

import torch
from torch import Tensor

from harmony.kernels import cpu


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Normalise `x` [..., H] by its root mean square and multiply by `scale` float32 [H].

    Computed in float32 and cast to the dtype of `x` at the end, after the scale: gpt-oss differs from
    Llama here.
    """
    if cpu.serves(x):
        from harmony.kernels.cpu.elementwise import rms_norm as on_cpu

        return on_cpu(x, scale, eps)
    t = x.float()
    return (t * torch.rsqrt(t.square().mean(-1, keepdim=True) + eps) * scale).to(x.dtype)
