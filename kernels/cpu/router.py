"""The router: scores of all experts, computed for each row as if it were alone, and the best of them."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import compute_rows
from harmony.kernels.cpu.tape import empty


def route(x: Tensor, weight: Tensor, bias: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """What `harmony.kernels.moe.route` computes, on bfloat16 `x`; of equal experts the first is taken.

    Not by torch, which would share so small a product with its own threads: they then wait awake and take a
    core from those of our pool.
    """
    n, experts = len(x), len(weight)
    scores = empty(n, experts)
    weights, ids = empty(n, top_k), empty(n, top_k, dtype=torch.int64)
    compute_rows(
        kernel("router.route"), n,
        x.contiguous(), weight, bias, scores, weights, ids, experts, x.shape[1], top_k,
    )  # fmt: skip
    return weights, ids
