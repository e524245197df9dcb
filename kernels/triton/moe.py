"""The mixture of experts from packed weights."""

from torch import Tensor

from harmony.kernels.moe import PackedExperts
from harmony.kernels.triton.expert_gemm import gemm_down, gemm_up, schedule
from harmony.kernels.triton.expert_matvec import MOST_TOKENS, expert_down, expert_up


def moe(
    x: Tensor, weights: Tensor, ids: Tensor, experts: PackedExperts, residual: Tensor | None = None
) -> Tensor:
    """As `harmony.kernels.moe.moe`: few rows by matrix-vector products, more grouped by expert."""
    compute = _few if len(x) <= MOST_TOKENS else _many
    total = compute(x.half(), weights.float(), ids.int(), experts, residual)
    return total.to((x if residual is None else residual).dtype)


def _few(x: Tensor, weights: Tensor, ids: Tensor, experts: PackedExperts, residual: Tensor | None) -> Tensor:
    activations = expert_up(x, ids, experts.up, experts.up_bias, alpha=experts.alpha, limit=experts.limit)
    return expert_down(activations, ids, weights, experts.down, experts.down_bias, residual)


def _many(x: Tensor, weights: Tensor, ids: Tensor, experts: PackedExperts, residual: Tensor | None) -> Tensor:
    plan, top_k = schedule(ids, len(experts.up_bias)), ids.shape[1]
    sizes = {"alpha": experts.alpha, "limit": experts.limit}
    activations = gemm_up(x, plan, top_k, experts.up, experts.up_bias, **sizes)
    total = gemm_down(activations, plan, weights, experts.down, experts.down_bias)
    return total if residual is None else residual + total
