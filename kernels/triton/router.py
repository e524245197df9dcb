"""Norm, router and the choice of experts on the device.

A program makes a few of a token's logits, the first one also the normalised vector that its experts read;
every product is float32, as in the reference. The program of a token that is done last picks its experts.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import COUNTERS, await_previous, counters, is_last, launch

EXPERTS = 4  # logits of a program


@triton.jit
def router_kernel(
    x,  # [tokens, K]
    norm,  # float32 [K]
    weight,  # [E, K]
    bias,  # [E]
    normed,  # float16 [tokens, K]
    logits,  # float32 [tokens, E]
    weights,  # float32 [tokens, TOP]
    ids,  # int32 [tokens, TOP]
    counters,
    experts,
    eps,
    K: tl.constexpr,
    POOL: tl.constexpr,
    EXPERTS: tl.constexpr,
    EXPERT_POOL: tl.constexpr,
    TOP: tl.constexpr,
    TOP_POOL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    token = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, POOL)
    inside = column < K
    value = tl.load(x + token * K + column, mask=inside, other=0.0).to(tl.float32)
    value *= tl.rsqrt(tl.sum(value * value, 0) / K + eps)
    value *= tl.load(norm + column, mask=inside, other=0.0)
    if tl.program_id(0) == 0:
        tl.store(normed + token * K + column, value.to(tl.float16), mask=inside)
    expert = tl.program_id(0) * EXPERTS + tl.arange(0, EXPERTS)
    real = expert < experts
    at = expert[:, None] * K + column[None, :]
    w = tl.load(weight + at, mask=real[:, None] & inside[None, :], other=0.0).to(tl.float32)
    logit = tl.sum(w * value[None, :], 1) + tl.load(bias + expert, mask=real, other=0.0).to(tl.float32)
    tl.store(logits + token * experts + expert, logit, mask=real)
    if is_last(counters + token, tl.num_programs(0)):
        choose(logits, weights, ids, token, experts, TOP, TOP_POOL, EXPERT_POOL)


@triton.jit
def choose(
    logits, weights, ids, token, experts, TOP: tl.constexpr, TOP_POOL: tl.constexpr, POOL: tl.constexpr
):
    """Write the best experts of a token, and the softmax over their logits."""
    expert, slot = tl.arange(0, POOL), tl.arange(0, TOP_POOL)
    left = tl.load(logits + token * experts + expert, mask=expert < experts, other=float("-inf"))
    best = tl.full([TOP_POOL], float("-inf"), dtype=tl.float32)
    chosen = tl.zeros([TOP_POOL], dtype=tl.int32)
    for step in tl.static_range(TOP):
        highest = tl.max(left, 0)
        first = tl.min(tl.where(left == highest, expert, POOL), 0)
        best = tl.where(slot == step, highest, best)
        chosen = tl.where(slot == step, first, chosen)
        left = tl.where(expert == first, float("-inf"), left)
    share = tl.exp(best - tl.max(best, 0))
    share /= tl.sum(share, 0)
    tl.store(weights + token * TOP + slot, share, mask=slot < TOP)
    tl.store(ids + token * TOP + slot, chosen, mask=slot < TOP)


def route(
    x: Tensor, norm: Tensor, weight: Tensor, bias: Tensor, top_k: int, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised rows of `x` [n, K] in float16, and `harmony.kernels.moe.route` of them.

    `norm` float32 [K], `weight` [E, K], `bias` [E]. Returns float16 [n, K], weights float32 [n, top_k] and
    ids int32 [n, top_k], the best first and of equals the first.
    """
    tokens, columns = x.shape
    experts = len(weight)
    normed = torch.empty(tokens, columns, dtype=torch.float16, device=x.device)
    logits = torch.empty(tokens, experts, dtype=torch.float32, device=x.device)
    weights = torch.empty(tokens, top_k, dtype=torch.float32, device=x.device)
    ids = torch.empty(tokens, top_k, dtype=torch.int32, device=x.device)
    assert tokens <= COUNTERS, x.shape
    launch(
        router_kernel,
        (triton.cdiv(experts, EXPERTS), tokens),
        x,
        norm,
        weight,
        bias,
        normed,
        logits,
        weights,
        ids,
        counters(x.device),
        experts,
        eps,
        K=columns,
        POOL=triton.next_power_of_2(columns),
        EXPERTS=EXPERTS,
        EXPERT_POOL=triton.next_power_of_2(experts),
        TOP=top_k,
        TOP_POOL=triton.next_power_of_2(top_k),
        num_warps=8,
    )
    return normed, weights, ids
