"""The end of a model: the norm of the last hidden states, and the logits or the tokens they lead to."""

from torch import Tensor

from harmony.kernels import triton
from harmony.kernels.linear import linear
from harmony.kernels.rms_norm import rms_norm
from harmony.kernels.sampling import sample


def unembed(x: Tensor, norm: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    """The logits weight . rms_norm(x, norm, eps), `x` [n, K] and `weight` [V, K]: float32 [n, V]."""
    if triton.serves(x) and len(x) <= triton.FEW_ROWS:
        from harmony.kernels.triton.dense_matvec import dense

        return dense(x, weight, norm=norm, eps=eps)
    return linear(rms_norm(x, norm, eps).to(weight.dtype), weight).float()


def unembed_sample(
    x: Tensor,
    norm: Tensor,
    weight: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    mask: Tensor | None = None,
    *,
    eps: float,
) -> Tensor:
    """What `harmony.kernels.sampling.sample` draws from the logits of `unembed`: int32 [n]."""
    if triton.serves(x):
        from harmony.kernels.triton.unembedding import unembed_sample as in_triton

        return in_triton(x, norm, weight, temperatures, seeds, mask, eps=eps)
    return sample(unembed(x, norm, weight, eps=eps), temperatures, seeds, mask)
