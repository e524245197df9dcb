"""Attention of a chunk of new tokens over a paged cache that already holds them and what precedes them.

A program takes a few consecutive tokens of one sequence with all query heads of one key head, as rows of one
matrix product, and walks the pages that any of them sees: those before the window are never looked up.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.decode_attention import PAGE
from harmony.kernels.triton.launch import await_previous, launch, operand

LOG2_E = 1.4426950408889634
ROWS = 128  # tokens times query heads of a program


@triton.jit
def walk(
    pages,  # from the first, up to the second
    queries,  # [ROWS, D]
    position,  # [ROWS]
    keys,
    values,
    table,  # of this sequence
    head,
    newest,
    scale,
    state,
    WINDOW: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    WHOLE: tl.constexpr,
    OPERAND: tl.constexpr,
):
    """Add a run of pages to the running softmax `state`; WHOLE says that every row sees all of them.

    The state is the largest logit, in units of log 2, and the sums of weights and of weighted values.
    """
    most, weight, total = state
    dim, key = tl.arange(0, D), tl.arange(0, PAGE)
    for page in tl.range(pages[0], pages[1]):
        number = tl.load(table + page).to(tl.int64)
        place = ((number * HEADS + head) * PAGE + key[:, None]) * D + dim[None, :]
        other = page * PAGE + key
        if WHOLE:
            k, v = tl.load(keys + place).to(OPERAND), tl.load(values + place).to(OPERAND)
        else:
            filled = (other < newest)[:, None]
            k = tl.load(keys + place, mask=filled, other=0.0).to(OPERAND)
            v = tl.load(values + place, mask=filled, other=0.0).to(OPERAND)
        logits = tl.dot(queries, tl.trans(k), input_precision="ieee") * scale
        if not WHOLE:
            distance = position[:, None] - other[None, :]
            seen = distance >= 0 if WINDOW == 0 else (distance >= 0) & (distance < WINDOW)
            logits = tl.where(seen, logits, float("-inf"))
        above = tl.maximum(most, tl.max(logits, 1))
        shrink = tl.exp2(most - above)
        p = tl.exp2(logits - above[:, None])
        weight = weight * shrink + tl.sum(p, 1)
        total = tl.dot(p.to(OPERAND), v, total * shrink[:, None], input_precision="ieee")
        most = above
    return most, weight, total


@triton.jit
def prefill_kernel(
    q,  # [n, Hq, D]
    keys,  # [pages, Hkv, PAGE, D]
    values,
    table,  # int32 [B, most pages]
    starts,  # int32 [B + 1], where each sequence's tokens begin in q
    lengths,  # int32 [B], the new tokens included
    sinks,  # [Hq]
    out,  # [n, Hq, D]
    most_pages,
    scale,  # with log2(e) in it
    WINDOW: tl.constexpr,  # keys that are seen, 0 for all
    HEADS: tl.constexpr,
    R: tl.constexpr,
    R_POOL: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    TOKENS: tl.constexpr,
    OPERAND: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    ROWS: tl.constexpr = TOKENS * R_POOL
    sequence, head = tl.program_id(2), tl.program_id(1)
    begin = tl.load(starts + sequence)
    new = tl.load(starts + sequence + 1) - begin
    first = tl.program_id(0) * TOKENS
    if first < new:
        before = tl.load(lengths + sequence) - new
        lane, dim = tl.arange(0, ROWS), tl.arange(0, D)
        token, query = first + lane // R_POOL, lane % R_POOL
        real = (token < new) & (query < R)
        position = before + token
        at = ((begin + token).to(tl.int64) * HEADS * R + head * R + query)[:, None] * D + dim[None, :]
        queries = tl.load(q + at, mask=real[:, None], other=0.0).to(OPERAND)
        newest = before + tl.minimum(first + TOKENS, new)
        pages = (newest + PAGE - 1) // PAGE
        most = tl.full([ROWS], -1e30, dtype=tl.float32)
        state = most, tl.zeros([ROWS], dtype=tl.float32), tl.zeros([ROWS, D], dtype=tl.float32)
        mine = table + sequence * most_pages
        if WINDOW == 0:
            partial = (before + first + 1) // PAGE
            state = walk(
                (0, partial), queries, position, keys, values, mine, head, newest, scale, state,
                WINDOW, HEADS, D, PAGE, True, OPERAND,
            )  # fmt: skip
        else:
            partial = tl.maximum(before + first - WINDOW + 1, 0) // PAGE
        most, weight, total = walk(
            (partial, pages), queries, position, keys, values, mine, head, newest, scale, state,
            WINDOW, HEADS, D, PAGE, False, OPERAND,
        )  # fmt: skip
        sink = tl.load(sinks + head * R + query, mask=query < R, other=0.0).to(tl.float32)
        sink *= 1.4426950408889634
        above = tl.maximum(most, sink)
        shrink = tl.exp2(most - above)
        total *= (shrink / (weight * shrink + tl.exp2(sink - above)))[:, None]
        tl.store(out + at, total.to(out.dtype.element_ty), mask=real[:, None])


def prefill_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    starts: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    *,
    longest: int,
    window: int | None,
) -> Tensor:
    """Attend from the new tokens of each sequence, `q` [n, Hq, D], to what it holds; returns [n, Hq, D].

    Sequence i owns rows `starts`[i] to `starts`[i + 1] of q, int32 [B + 1], which stand last among its
    `lengths`[i] positions, int32 [B]; none has more than `longest` rows. Keys, values, table and sinks are
    those of `decode_attention`. A prompt may come in chunks, or begin after a cached prefix.
    """
    _, heads, dim = q.shape
    kv_heads = keys.shape[1]
    assert keys.shape[2] == PAGE, keys.shape
    pool = triton.next_power_of_2(heads // kv_heads)
    tokens = max(1, ROWS // pool)
    out = torch.empty_like(q)
    launch(
        prefill_kernel,
        (triton.cdiv(longest, tokens), kv_heads, len(lengths)),
        q,
        keys,
        values,
        table,
        starts,
        lengths,
        sinks,
        out,
        table.shape[1],
        dim**-0.5 * LOG2_E,
        WINDOW=window or 0,
        HEADS=kv_heads,
        R=heads // kv_heads,
        R_POOL=pool,
        D=dim,
        PAGE=PAGE,
        TOKENS=tokens,
        OPERAND=operand(keys),
        num_warps=8,
        num_stages=2,
    )
    return out
