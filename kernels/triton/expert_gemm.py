"""Experts for many tokens: each expert's tokens are gathered in tiles and multiplied with its packed weights.

A weight is decoded as float16 relative to the largest scale of its row, which a factor restores at the end:
codes are exact, and so is every scale down to 2^-23 of the row's largest. What lies below is rounded to
multiples of 2^-24 of that, far less than the float16 of the activations leaves out.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.packed import PackedMatrix
from harmony.kernels.triton.launch import await_previous, launch
from harmony.kernels.triton.packing import block_values

UP_ROWS, DOWN_ROWS = 128, 64  # the float32 results of down fill more registers


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Pairs of token and expert in the order of their experts, cut into tiles of one expert each.

    `pairs` int32 [n * top] are numbers of pairs; those of expert e end before `pair_ends`[e], and its tiles
    before `tile_ends`[e], int32 [E]. `tiles` bounds the number of tiles, so that no host waits for it.
    """

    pairs: Tensor
    pair_ends: Tensor
    tile_ends: Tensor
    tiles: int
    tile: int


def schedule(ids: Tensor, experts: int) -> Schedule:
    """Sort the pairs of `ids` int [n, top] by expert, on the device."""
    every = ids.flatten().long()
    tile = tile_of(every.numel(), experts)
    counts = torch.zeros(experts, dtype=torch.int64, device=ids.device)
    counts.scatter_add_(0, every, torch.ones_like(every))
    return Schedule(
        every.argsort(stable=True).int(),
        counts.cumsum(0).int(),
        ((counts + tile - 1) // tile).cumsum(0).int(),
        every.numel() // tile + min(experts, every.numel()),
        tile,
    )


def tile_of(pairs: int, experts: int) -> int:
    """Tokens of a tile: about as many as an expert has on average."""
    average: int = triton.next_power_of_2(pairs // experts)
    return min(128, max(16, average))


@triton.jit
def relative(values, scales, top, block: tl.constexpr):
    """Decoded `values` float16 [R, 32], times 2^-14, under one of two scale bytes, relative to byte `top`."""
    exponent = ((scales >> (8 * block)) & 255).to(tl.int32) - top + 29
    factor = (tl.maximum(exponent, 0) << 10).to(tl.uint16).to(tl.float16, bitcast=True)
    return values * factor[:, None]


@triton.jit
def gemm_kernel(
    x,  # float16 [n, K], or [pairs, K]
    pairs,  # int32 [pairs]
    pair_ends,  # int32 [E]
    tile_ends,  # int32 [E]
    words,
    scales,
    bias,  # [E, rows]
    weights,  # float32 [pairs]
    out,  # float16 [pairs, rows / 2], or float32 [pairs, rows]
    experts,
    rows,
    alpha,
    limit,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    PAIRS_A_VECTOR: tl.constexpr,
    UP: tl.constexpr,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    tile, every = tl.program_id(1), tl.arange(0, EXPERTS)
    tile_end = tl.load(tile_ends + every, mask=every < experts, other=0x7FFFFFFF)
    expert = tl.sum((tile_end <= tile).to(tl.int32), 0)
    if expert < experts:
        tile_begin = tl.max(tl.where(every < expert, tile_end, 0), 0)
        pair_end = tl.load(pair_ends + every, mask=every < experts, other=0)
        begin = tl.max(tl.where(every < expert, pair_end, 0), 0) + (tile - tile_begin) * TILE
        end = tl.max(tl.where(every == expert, pair_end, 0), 0)
        place = begin + tl.arange(0, TILE)
        real = place < end
        pair = tl.load(pairs + place, mask=real, other=0)
        vector = x + (pair // PAIRS_A_VECTOR).to(tl.int64)[None, :] * K

        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        inside = row < rows
        start = expert.to(tl.int64) * GROUPS * rows + row
        word_start = words + start[:, None] * 8 + tl.arange(0, 8)[None, :]
        k = tl.arange(0, 32)[:, None]
        top = tl.zeros([ROWS], dtype=tl.int32)
        for group in tl.range(0, GROUPS):
            both = tl.load(scales + start + group * rows, mask=inside, other=0).to(tl.int32)
            top = tl.maximum(top, tl.maximum(both & 255, both >> 8))
        total = tl.zeros([ROWS, TILE], dtype=tl.float32)
        for group in tl.range(0, GROUPS):
            packed = tl.load(word_start + group * rows * 8, mask=inside[:, None], other=0)
            both = tl.load(scales + start + group * rows, mask=inside, other=0).to(tl.uint32)
            for block in tl.static_range(2):
                at = group * 64 + block * 32 + k
                mask = real[None, :] if K % 64 == 0 else real[None, :] & (at < K)
                values = tl.load(vector + at, mask=mask, other=0.0)
                decoded = tl.reshape(block_values(packed[None], block), (ROWS, 32))
                total = tl.dot(relative(decoded, both, top, block), values, total)
        total *= (top << 23).to(tl.float32, bitcast=True)[:, None]

        total += tl.load(bias + expert * rows + row, mask=inside, other=0.0).to(tl.float32)[:, None]
        if UP:
            paired = tl.permute(tl.reshape(total, (ROWS // 2, 2, TILE)), (0, 2, 1))
            gate, up = tl.split(paired)
            gate = tl.minimum(gate, limit)
            up = tl.minimum(tl.maximum(up, -limit), limit)
            activated = gate / (1.0 + tl.exp(-alpha * gate)) * (up + 1.0)
            half = tl.program_id(0) * (ROWS // 2) + tl.arange(0, ROWS // 2)
            target = out + (pair[None, :] * (rows // 2) + half[:, None])
            tl.store(target, activated.to(tl.float16), mask=real[None, :] & (half < rows // 2)[:, None])
        else:
            total *= tl.load(weights + pair, mask=real, other=0.0)[None, :]
            target = out + (pair[None, :] * rows + row[:, None])
            tl.store(target, total, mask=real[None, :] & inside[:, None])


def gemm_up(
    x: Tensor, plan: Schedule, top_k: int, matrix: PackedMatrix, bias: Tensor, *, alpha: float, limit: float
) -> Tensor:
    """Each pair's activations: float16 [n, top_k, rows / 2] for `x` float16 [n, columns]."""
    out = torch.empty(len(x), top_k, matrix.rows // 2, dtype=torch.float16, device=x.device)
    constants = {"PAIRS_A_VECTOR": top_k, "UP": True, "ROWS": UP_ROWS}
    _launch(x, plan, matrix, bias, None, out, alpha, limit, **constants)
    return out


def gemm_down(x: Tensor, plan: Schedule, weights: Tensor, matrix: PackedMatrix, bias: Tensor) -> Tensor:
    """The sum of each token's experts by `weights` float32 [n, top]: float32 [n, rows].

    `x` float16 [n, top, columns] from `gemm_up`. The pairs' products are kept and added in order.
    """
    tokens, top_k, _ = x.shape
    out = torch.empty(tokens, top_k, matrix.rows, dtype=torch.float32, device=x.device)
    constants = {"PAIRS_A_VECTOR": 1, "UP": False, "ROWS": DOWN_ROWS}
    _launch(x, plan, matrix, bias, weights, out, 0.0, 0.0, **constants)
    return out.sum(1)


def _launch(
    x: Tensor,
    plan: Schedule,
    matrix: PackedMatrix,
    bias: Tensor,
    weights: Tensor | None,
    out: Tensor,
    alpha: float,
    limit: float,
    **constants: int,
) -> None:
    experts = len(matrix.words)
    assert out.numel() < 2**31, "take fewer tokens at a time"
    launch(
        gemm_kernel,
        (triton.cdiv(matrix.rows, constants["ROWS"]), plan.tiles),
        x,
        plan.pairs,
        plan.pair_ends,
        plan.tile_ends,
        matrix.words,
        matrix.scales,
        bias,
        weights,
        out,
        experts,
        matrix.rows,
        alpha,
        limit,
        K=matrix.columns,
        GROUPS=matrix.groups,
        EXPERTS=triton.next_power_of_2(experts),
        TILE=plan.tile,
        num_warps=8 if constants["UP"] and plan.tile >= 64 else 4,
        num_stages=3,
        **constants,
    )
