"""A dense matrix times a few vectors, which may be normalised first and added to afterwards.

A program takes sixteen rows, and each of its four warps every fourth run of 64 columns; their sums are
added in a fixed order. The root mean square is a factor of the whole row, so it is applied at the end.
Programs of the same rows for the next eight vectors follow at once, so the matrix is read from memory once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import await_previous, launch, on_amd, operand

ROWS, PARTS, COLUMNS = 16, 4, 64


@triton.jit
def row_products(
    x,  # [tokens, K]
    norm,  # float32 [K] or None
    weight,  # [rows, K]
    row,  # [ROWS], in any order
    rows,
    token,  # [TOKENS]
    tokens,
    eps,
    K: tl.constexpr,
    OPERAND: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Products of each `row` with each vector, normalised if `norm` is given: float32 [ROWS, TOKENS]."""
    ROWS: tl.constexpr = row.shape[0]
    TOKENS: tl.constexpr = token.shape[0]
    column = tl.arange(0, PARTS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    start = weight + row.to(tl.int64)[None, :, None] * K
    total = tl.zeros([PARTS, ROWS, TOKENS], dtype=tl.float32)
    squares = tl.zeros([PARTS, TOKENS], dtype=tl.float32)
    for first in tl.range(0, K, PARTS * COLUMNS):
        k = first + column
        inside = k < K
        w = tl.load(start + k[:, None, :], mask=inside[:, None, :] & (row < rows)[None, :, None], other=0.0)
        seen = inside[:, :, None] & (token < tokens)[None, None, :]
        value = tl.load(x + token[None, None, :] * K + k[:, :, None], mask=seen, other=0.0).to(tl.float32)
        if norm is not None:
            squares += tl.sum(value * value, 1)
            value *= tl.load(norm + k, mask=inside, other=0.0)[:, :, None]
        total = tl.dot(w.to(OPERAND), value.to(OPERAND), total, input_precision="ieee")
    sums = tl.sum(total, 0)
    if norm is not None:
        sums *= tl.rsqrt(tl.sum(squares, 0) / K + eps)[None, :]
    return sums


@triton.jit
def dense_kernel(
    x,  # [tokens, K]
    norm,  # float32 [K] or None
    weight,  # [rows, K]
    bias,  # [rows] or None
    residual,  # [tokens, rows] or None
    out,  # [tokens, rows]
    tokens,
    rows,
    eps,
    K: tl.constexpr,
    OPERAND: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    sums = row_products(x, norm, weight, row, rows, token, tokens, eps, K, OPERAND, PARTS, COLUMNS)
    if bias is not None:
        sums += tl.load(bias + row, mask=row < rows, other=0.0).to(tl.float32)[:, None]
    target = token[None, :] * rows + row[:, None]
    keep = (token < tokens)[None, :] & (row < rows)[:, None]
    if residual is not None:
        sums += tl.load(residual + target, mask=keep, other=0.0).to(tl.float32)
    tl.store(out + target, sums.to(out.dtype.element_ty), mask=keep)


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    norm: Tensor | None = None,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """residual + weight . rms_norm(x, norm, eps) + bias for `x` [n, K] and `weight` [rows, K].

    `norm` float32 [K], `bias` [rows] and `residual` [n, rows] may be left out. Sums are float32, the result
    [n, rows] has the given `dtype`.
    """
    tokens, columns = x.shape
    rows = len(weight)
    out = torch.empty(tokens, rows, dtype=dtype, device=x.device)
    launch(
        dense_kernel,
        (triton.cdiv(tokens, tile_tokens()), triton.cdiv(rows, ROWS)),
        x,
        norm,
        weight,
        bias,
        residual,
        out,
        tokens,
        rows,
        eps,
        K=columns,
        OPERAND=operand(weight),
        ROWS=ROWS,
        PARTS=PARTS,
        COLUMNS=COLUMNS,
        TOKENS=tile_tokens(),
        num_stages=4,
    )
    return out


def tile_tokens() -> int:
    """Vectors of a program: the fewest columns of a matrix product."""
    return 16 if on_amd() else 8
