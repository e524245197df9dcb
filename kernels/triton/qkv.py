"""Queries, keys and values of new tokens: norm, product, bias, rotation, and the write into the cache.

A program takes eight pairs of dimensions of one head, i and i + D / 2, so that both ends of each rotation
are in its tile: the checkpoint's rows need no other order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.dense_matvec import COLUMNS, PARTS, row_products, tile_tokens
from harmony.kernels.triton.launch import await_previous, launch, operand

PAIRS = 8


@triton.jit
def qkv_kernel(
    x,  # [tokens, K]
    norm,  # float32 [K]
    weight,  # [(Hq + 2 Hkv) * D, K]
    bias,  # [(Hq + 2 Hkv) * D]
    cos,  # float32 [tokens, D / 2]
    sin,
    slots,  # int32 [tokens]
    queries,  # [tokens, Hq, D]
    keys,  # [pages, Hkv, PAGE, D]
    values,
    tokens,
    eps,
    K: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    OPERAND: tl.constexpr,
    PAIRS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    HALF: tl.constexpr = D // 2
    ROWS: tl.constexpr = (HEADS + 2 * KV_HEADS) * D
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    head = tl.program_id(1) * PAIRS // HALF
    pair = tl.program_id(1) * PAIRS % HALF + tl.arange(0, PAIRS)
    lane = tl.arange(0, 2 * PAIRS)
    row = head * D + tl.program_id(1) * PAIRS % HALF + lane // 2 + lane % 2 * HALF
    sums = row_products(x, norm, weight, row, ROWS, token, tokens, eps, K, OPERAND, PARTS, COLUMNS)
    sums += tl.load(bias + row).to(tl.float32)[:, None]
    first, second = tl.split(tl.permute(tl.reshape(sums, (PAIRS, 2, TOKENS)), (0, 2, 1)))

    real = token < tokens
    slot = tl.load(slots + token, mask=real, other=0)
    if head < HEADS + KV_HEADS:
        angle = token[None, :] * HALF + pair[:, None]
        c = tl.load(cos + angle, mask=real[None, :], other=0.0)
        s = tl.load(sin + angle, mask=real[None, :], other=0.0)
        first, second = first * c - second * s, second * c + first * s
    if head < HEADS:
        target = queries + (token * HEADS + head)[None, :] * D + pair[:, None]
        tl.store(target, first.to(queries.dtype.element_ty), mask=real[None, :])
        tl.store(target + HALF, second.to(queries.dtype.element_ty), mask=real[None, :])
    else:
        kv_head = (head - HEADS) % KV_HEADS
        page = (slot // PAGE).to(tl.int64) * KV_HEADS + kv_head
        at = (page * PAGE + slot % PAGE)[None, :] * D + pair[:, None]
        if head < HEADS + KV_HEADS:
            tl.store(keys + at, first.to(keys.dtype.element_ty), mask=real[None, :])
            tl.store(keys + at + HALF, second.to(keys.dtype.element_ty), mask=real[None, :])
        else:
            tl.store(values + at, first.to(values.dtype.element_ty), mask=real[None, :])
            tl.store(values + at + HALF, second.to(values.dtype.element_ty), mask=real[None, :])


def qkv(
    x: Tensor,
    norm: Tensor,
    weight: Tensor,
    bias: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """The rotated queries [n, Hq, D] of `x` [n, K]; its keys and values are written into their pages.

    `norm` float32 [K]; `weight` [(Hq + 2 Hkv) D, K] and `bias` hold the rows of queries, keys and values, in
    this order; `cos` and `sin` float32 [n, D / 2] are those of `harmony.kernels.rope.rotation`. `keys` and
    `values` [pages, Hkv, PAGE, D] are written at `slots` int32 [n], each a page times PAGE plus a row of it.
    The queries have the dtype of the cache.
    """
    tokens, columns = x.shape
    _, kv_heads, page, dim = keys.shape
    heads = len(weight) // dim - 2 * kv_heads
    assert dim // 2 % PAIRS == 0, keys.shape
    queries = torch.empty(tokens, heads, dim, dtype=keys.dtype, device=x.device)
    launch(
        qkv_kernel,
        (triton.cdiv(tokens, tile_tokens()), len(weight) // (2 * PAIRS)),
        x,
        norm,
        weight,
        bias,
        cos,
        sin,
        slots,
        queries,
        keys,
        values,
        tokens,
        eps,
        K=columns,
        HEADS=heads,
        KV_HEADS=kv_heads,
        D=dim,
        PAGE=page,
        OPERAND=operand(weight),
        PAIRS=PAIRS,
        PARTS=PARTS,
        COLUMNS=COLUMNS,
        TOKENS=tile_tokens(),
        num_stages=4,
    )
    return queries
