"""The norm before the experts, and their choice."""

from torch import Tensor

from harmony.kernels import moe, triton
from harmony.kernels.rms_norm import rms_norm


def route(
    x: Tensor, norm: Tensor, weight: Tensor, bias: Tensor, top_k: int, *, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised rows of `x` [n, K], and what `harmony.kernels.moe.route` chooses for them.

    `norm` float32 [K], `weight` [E, K] and `bias` [E]. Returns the rows as `moe` takes them, weights float32
    [n, top_k] and ids [n, top_k], the best first. Triton makes the rows float16, for its experts.
    """
    if triton.serves(x):
        from harmony.kernels.triton.router import route as in_triton

        return in_triton(x, norm, weight, bias, top_k, eps=eps)
    normed = rms_norm(x, norm, eps)
    return normed, *moe.route(normed, weight.float(), bias.float(), top_k)
