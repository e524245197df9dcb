"""The mixture of experts from packed weights."""

import torch
from torch import Tensor

from harmony.kernels.moe import PackedExperts
from harmony.kernels.triton.expert_matvec import MOST_TOKENS, expert_down, expert_up


def moe(x: Tensor, weights: Tensor, ids: Tensor, experts: PackedExperts) -> Tensor:
    """As `harmony.kernels.moe.moe`, eight rows at a time: right for any number, fast for a few."""
    parts = [
        _few(rows, share, chosen, experts)
        for rows, share, chosen in zip(
            x.half().split(MOST_TOKENS),
            weights.float().split(MOST_TOKENS),
            ids.int().split(MOST_TOKENS),
            strict=True,
        )
    ]
    return torch.cat(parts).to(x.dtype)


def _few(x: Tensor, weights: Tensor, ids: Tensor, experts: PackedExperts) -> Tensor:
    activations = expert_up(x, ids, experts.up, experts.up_bias, alpha=experts.alpha, limit=experts.limit)
    return expert_down(activations, ids, weights, experts.down, experts.down_bias, None)
