"""The mixture of experts: a router, and experts computed from their packed MXFP4 weights."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels import cpu, triton
from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.packed import PackedMatrix, pack, unpack
from harmony.kernels.swiglu import swiglu


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """The weights of E experts: up from H to 2 I interleaved gate and up values, down from I to H.

    Blocks are uint8 [E, out, in / 32, 16], scales uint8 [E, out, in / 32], biases float [E, out].
    """

    up_blocks: Tensor
    up_scales: Tensor
    up_bias: Tensor
    down_blocks: Tensor
    down_scales: Tensor
    down_bias: Tensor
    alpha: float
    limit: float


@dataclass(frozen=True, slots=True, eq=False)
class PackedExperts:
    """The same weights as a GPU's kernels read them; they take as much memory as those they came from."""

    up: PackedMatrix
    up_bias: Tensor
    down: PackedMatrix
    down_bias: Tensor
    alpha: float
    limit: float


def pack_experts(experts: Experts) -> PackedExperts:
    """Repack for the Triton kernels of `moe`; the checkpoint's tensors may be dropped then."""
    return PackedExperts(
        pack(experts.up_blocks, experts.up_scales),
        experts.up_bias,
        pack(experts.down_blocks, experts.down_scales),
        experts.down_bias,
        experts.alpha,
        experts.limit,
    )


def unpack_experts(experts: PackedExperts, chosen: Tensor) -> Experts:
    """The `chosen` ones, int64 [n], as they were before `pack_experts`."""
    up, down = (
        unpack(
            PackedMatrix(
                m.words.view(torch.int32)[chosen].view(torch.uint32),
                m.scales.view(torch.int16)[chosen].view(torch.uint16),
                m.rows,
                m.columns,
            )
        )
        for m in (experts.up, experts.down)
    )
    return Experts(
        *up, experts.up_bias[chosen], *down, experts.down_bias[chosen], experts.alpha, experts.limit
    )


def route(x: Tensor, weight: Tensor, bias: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose `top_k` experts for each row of `x` [n, H]: weights float32 and ids int64, both [n, top_k].

    `weight` [E, H] and `bias` [E] are float32, and so is the computation. The weights are a softmax
    over the chosen experts alone, the best first.
    """
    if cpu.serves(x) and cpu.computes_alone(len(x)):
        from harmony.kernels.cpu.router import route as on_cpu

        return on_cpu(x, weight, bias, top_k)
    best, ids = torch.topk(F.linear(x.float(), weight, bias), top_k, dim=-1)
    return best.softmax(-1), ids


def moe(
    x: Tensor,
    weights: Tensor,
    ids: Tensor,
    experts: Experts | PackedExperts,
    *,
    residual: Tensor | None = None,
) -> Tensor:
    """Sum the chosen experts of each row of `x` [n, H], by `weights` and `ids` [n, top_k] from `route`.

    One expert at a time is unpacked, and only those that some row chose. The sum is float32, the
    result has the dtype of `x`; a `residual` [n, H] is added, and it has its dtype then. Packed experts run
    in Triton where there is one, which multiplies float16: no value of `x` may exceed 65504, as none does
    after a norm whose scale stays below 1200.
    """
    if isinstance(experts, PackedExperts) and triton.serves(x):
        from harmony.kernels.triton.moe import moe as in_triton

        return in_triton(x, weights, ids, experts, residual)
    if isinstance(experts, PackedExperts):
        chosen, ids = torch.unique(ids, return_inverse=True)
        experts = unpack_experts(experts, chosen)
    if cpu.serves(x) and (residual is None or residual.dtype == x.dtype):
        from harmony.kernels.cpu.moe import moe as on_cpu

        return on_cpu(x, weights, ids, experts, residual)
    if residual is not None:
        return residual + moe(x, weights, ids, experts)
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for expert in torch.unique(ids).tolist():
        rows, slots = torch.where(ids == expert)
        outputs = _expert(x[rows], expert, experts)
        total.index_add_(0, rows, outputs.float() * weights[rows, slots, None])
    return total.to(x.dtype)


def _expert(x: Tensor, expert: int, experts: Experts) -> Tensor:
    up = dequantize(experts.up_blocks[expert], experts.up_scales[expert], x.dtype)
    hidden = F.linear(x, up, experts.up_bias[expert])
    activated = swiglu(hidden, alpha=experts.alpha, limit=experts.limit)
    down = dequantize(experts.down_blocks[expert], experts.down_scales[expert], x.dtype)
    return F.linear(activated, down, experts.down_bias[expert])
