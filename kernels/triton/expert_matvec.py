"""Experts for up to eight tokens: every chosen expert's weights are read once, straight into products.

A program takes a few rows of four experts, an expert to a warp, and multiplies them with all tokens: a
tensor core computes eight columns or more whether they are used or not. So no token is gathered or
scattered, and nothing is summed between programs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.packed import PackedMatrix
from harmony.kernels.triton.launch import await_previous, launch, on_amd
from harmony.kernels.triton.packing import block_scale, block_values

MOST_TOKENS = 8
SLOTS = 4  # experts of a program, one to a warp
UP_ROWS, DOWN_ROWS = 32, 16  # 180 programs either way for gpt-oss


@triton.jit
def distinct_experts(ids, pairs, chunk, POOL: tl.constexpr, SLOTS: tl.constexpr):
    """The experts number SLOTS * chunk and following among the distinct `ids` int32 [pairs], else -1."""
    place = tl.arange(0, POOL)
    every = tl.load(ids + place, mask=place < pairs, other=-1)
    again = (every[:, None] == every[None, :]) & (place[None, :] < place[:, None])
    first = (tl.sum(again.to(tl.int32), 1) == 0) & (every >= 0)
    rank = tl.cumsum(first.to(tl.int32), 0) - 1
    wanted = chunk * SLOTS + tl.arange(0, SLOTS)
    found = first[None, :] & (rank[None, :] == wanted[:, None])
    return tl.max(tl.where(found, every[None, :], -1), 1)


@triton.jit
def pair_of(ids, experts, tokens, TOP: tl.constexpr, TOP_POOL: tl.constexpr, TOKENS: tl.constexpr):
    """For each of `experts` [S] and each token, the pair in `ids` that joins them, else -1: [S, TOKENS]."""
    token, slot = tl.arange(0, TOKENS), tl.arange(0, TOP_POOL)
    pair = token[:, None] * TOP + slot[None, :]
    chosen = tl.load(ids + pair, mask=(token < tokens)[:, None] & (slot < TOP)[None, :], other=-2)
    return tl.max(tl.where(chosen[None] == experts[:, None, None], pair[None], -1), 2)


@triton.jit
def expert_rows(
    words,
    scales,
    experts,  # [S], -1 reads nothing
    row,  # [R]
    x,  # pointers to the vectors [S, 1, TOKENS]
    x_mask,  # [S, 1, TOKENS]
    rows,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Products of `row` of each expert with its vectors: float32 [S, R, TOKENS]."""
    S: tl.constexpr = experts.shape[0]
    R: tl.constexpr = row.shape[0]
    TOKENS: tl.constexpr = x.shape[2]
    first = experts.to(tl.int64) * GROUPS * rows
    mask = (experts >= 0)[:, None] & (row < rows)[None, :]
    scale_start = scales + first[:, None] + row[None, :]
    word_start = words + (first[:, None] + row[None, :])[:, :, None] * 8 + tl.arange(0, 8)[None, None, :]
    k = tl.arange(0, 32)[None, :, None]
    total = tl.zeros([S, R, TOKENS], dtype=tl.float32)
    for start in tl.range(0, GROUPS, UNROLL):
        for step in tl.static_range(UNROLL):
            group = start + step
            packed = tl.load(word_start + group * rows * 8, mask=mask[:, :, None], other=0)
            scale = tl.load(scale_start + group * rows, mask=mask, other=0).to(tl.uint32)
            for block in tl.static_range(2):
                at = group * 64 + block * 32 + k
                inside = x_mask if K % 64 == 0 else x_mask & (at < K)
                values = tl.load(x + at, mask=inside, other=0.0)
                product = tl.dot(block_values(packed, block), values)
                total += product * block_scale(scale, block)[:, :, None]
    return total * 16384.0


@triton.jit
def up_kernel(
    x,  # float16 [tokens, K]
    ids,  # int32 [tokens, TOP]
    words,
    scales,
    bias,  # [E, rows]
    out,  # float16 [tokens, TOP, rows / 2]
    tokens,
    rows,
    alpha,
    limit,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    TOP: tl.constexpr,
    TOP_POOL: tl.constexpr,
    POOL: tl.constexpr,
    ONE_EACH: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    TOKENS: tl.constexpr,
    UNROLL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if ONE_EACH:
        experts = tl.load(ids + tl.arange(0, SLOTS))
    else:
        experts = distinct_experts(ids, tokens * TOP, tl.program_id(1), POOL, SLOTS)
    pair = pair_of(ids, experts, tokens, TOP, TOP_POOL, TOKENS)
    token = pair // TOP
    start = x + (token * K)[:, None, :]
    total = expert_rows(words, scales, experts, row, start, (pair >= 0)[:, None, :], rows, K, GROUPS, UNROLL)

    bias_mask = (experts >= 0)[:, None] & (row < rows)[None, :]
    bias_value = tl.load(bias + experts[:, None] * rows + row[None, :], mask=bias_mask, other=0.0)
    total += bias_value.to(tl.float32)[:, :, None]
    paired = tl.permute(tl.reshape(total, (SLOTS, ROWS // 2, 2, TOKENS)), (0, 1, 3, 2))
    gate, up = tl.split(paired)
    gate = tl.minimum(gate, limit)
    up = tl.minimum(tl.maximum(up, -limit), limit)
    activated = gate / (1.0 + tl.exp(-alpha * gate)) * (up + 1.0)

    half = tl.program_id(0) * (ROWS // 2) + tl.arange(0, ROWS // 2)
    target = out + pair[:, None, :] * (rows // 2) + half[None, :, None]
    keep = (pair >= 0)[:, None, :] & (half < rows // 2)[None, :, None]
    tl.store(target, activated.to(tl.float16), mask=keep)


@triton.jit
def down_kernel(
    x,  # float16 [tokens, TOP, K]
    ids,  # int32 [tokens, TOP]
    weights,  # float32 [tokens, TOP]
    words,
    scales,
    bias,  # [E, rows]
    residual,  # [tokens, rows] or None
    out,  # [tokens, rows]
    tokens,
    rows,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    TOP: tl.constexpr,
    TOP_POOL: tl.constexpr,
    POOL: tl.constexpr,
    ONE_EACH: tl.constexpr,
    CHUNKS: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    TOKENS: tl.constexpr,
    UNROLL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.arange(0, TOKENS)
    total = tl.zeros([ROWS, TOKENS], dtype=tl.float32)
    for chunk in tl.range(0, CHUNKS):
        if ONE_EACH:
            experts = tl.load(ids + tl.arange(0, SLOTS))
        else:
            experts = distinct_experts(ids, tokens * TOP, chunk, POOL, SLOTS)
        if tl.max(experts, 0) >= 0:
            pair = pair_of(ids, experts, tokens, TOP, TOP_POOL, TOKENS)
            mine = pair >= 0
            start = x + (pair * K)[:, None, :]
            outputs = expert_rows(
                words, scales, experts, row, start, mine[:, None, :], rows, K, GROUPS, UNROLL
            )
            bias_mask = (experts >= 0)[:, None] & (row < rows)[None, :]
            bias_value = tl.load(bias + experts[:, None] * rows + row[None, :], mask=bias_mask, other=0.0)
            outputs += bias_value.to(tl.float32)[:, :, None]
            weight = tl.load(weights + pair, mask=mine, other=0.0)
            total += tl.sum(tl.where(mine[:, None, :], outputs * weight[:, None, :], 0.0), 0)
    target = token[None, :] * rows + row[:, None]
    keep = (token < tokens)[None, :] & (row < rows)[:, None]
    if residual is not None:
        total += tl.load(residual + target, mask=keep, other=0.0).to(tl.float32)
    tl.store(out + target, total.to(out.dtype.element_ty), mask=keep)


def expert_up(
    x: Tensor, ids: Tensor, matrix: PackedMatrix, bias: Tensor, *, alpha: float, limit: float
) -> Tensor:
    """Each token's chosen experts up to their activations: float16 [n, top, rows / 2].

    `x` float16 [n <= 8, columns], `ids` int32 [n, top], `bias` [E, rows]. The SwiGLU with interleaved gate
    and up rows is applied in float32.
    """
    out = torch.empty(*ids.shape, matrix.rows // 2, dtype=torch.float16, device=x.device)
    launch(
        up_kernel,
        (triton.cdiv(matrix.rows, UP_ROWS), _chunks(ids, matrix)),
        x,
        ids,
        matrix.words,
        matrix.scales,
        bias,
        out,
        len(x),
        matrix.rows,
        alpha,
        limit,
        **_constants(ids, matrix),
        ROWS=UP_ROWS,
        num_stages=2,
    )
    return out


def expert_down(
    x: Tensor, ids: Tensor, weights: Tensor, matrix: PackedMatrix, bias: Tensor, residual: Tensor | None
) -> Tensor:
    """Sum each token's experts by `weights` float32 [n, top], and add `residual` [n, rows] if given.

    `x` float16 [n <= 8, top, columns] from `expert_up`; returns [n, rows] in the dtype of the residual,
    else float32. One program owns its rows for all experts, so the order of the sum is fixed.
    """
    dtype = torch.float32 if residual is None else residual.dtype
    out = torch.empty(len(x), matrix.rows, dtype=dtype, device=x.device)
    launch(
        down_kernel,
        (triton.cdiv(matrix.rows, DOWN_ROWS),),
        x,
        ids,
        weights,
        matrix.words,
        matrix.scales,
        bias,
        residual,
        out,
        len(x),
        matrix.rows,
        **_constants(ids, matrix),
        CHUNKS=_chunks(ids, matrix),
        ROWS=DOWN_ROWS,
        num_stages=2,
    )
    return out


def _chunks(ids: Tensor, matrix: PackedMatrix) -> int:
    return -(-min(ids.numel(), matrix.words.shape[0]) // SLOTS)


def _constants(ids: Tensor, matrix: PackedMatrix) -> dict[str, int]:
    tokens, top = ids.shape
    assert tokens <= MOST_TOKENS, ids.shape
    unrolls = (5, 4, 3, 2, 1) if on_amd() else (9, 5, 4, 3, 2, 1)  # by shared memory
    return {
        "K": matrix.columns,
        "GROUPS": matrix.groups,
        "TOP": top,
        "TOP_POOL": triton.next_power_of_2(top),
        "POOL": triton.next_power_of_2(ids.numel()),
        "ONE_EACH": tokens == 1 and top == SLOTS,
        "SLOTS": SLOTS,
        "TOKENS": 16 if on_amd() else MOST_TOKENS,
        "UNROLL": next(unroll for unroll in unrolls if matrix.groups % unroll == 0),
    }
