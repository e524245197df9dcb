"""Attention of one new token a sequence over a paged cache, split along the keys.

A program takes one sequence, one key head with its query heads, and one run of pages. It leaves the sums of
its run and their logarithmic weight; a second kernel adds the runs in order, and the sink once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import launch, operand

PAGE = 64
MOST_RUNS = 32
QUERIES = 16  # the least rows of a matrix product; gpt-oss has eight query heads to a key head


@triton.jit
def runs_kernel(
    q,  # [B, Hkv, R, D]
    keys,  # [pages, Hkv, PAGE, D]
    values,
    table,  # int32 [B, most pages]
    lengths,  # int32 [B], the new token included
    sums,  # float32 [B, Hkv, RUNS, R, D]
    weights,  # float32 [B, Hkv, RUNS, R], log sum exp of the run's logits
    most_pages,
    window,  # keys that are seen, 0 for all
    scale,
    HEADS: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    RUNS: tl.constexpr,
    PAGE: tl.constexpr,
    QUERIES: tl.constexpr,
    OPERAND: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    sequence, head, run = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + sequence)
    oldest = tl.where(window > 0, tl.maximum(length - window, 0), 0)
    first_page = oldest // PAGE
    pages = (length + PAGE - 1) // PAGE - first_page
    share = (pages + RUNS - 1) // RUNS
    start = first_page + run * share
    end = tl.minimum(start + share, first_page + pages)

    query, dim, key = tl.arange(0, QUERIES), tl.arange(0, D), tl.arange(0, PAGE)
    q_at = ((sequence * HEADS + head) * R + query[:, None]) * D + dim[None, :]
    queries = tl.load(q + q_at, mask=(query < R)[:, None], other=0.0).to(OPERAND)
    most = tl.full([QUERIES], -1e30, dtype=tl.float32)
    weight = tl.zeros([QUERIES], dtype=tl.float32)
    total = tl.zeros([QUERIES, D], dtype=tl.float32)
    for page in tl.range(start, end):
        number = tl.load(table + sequence * most_pages + page).to(tl.int64)
        at = ((number * HEADS + head) * PAGE + key[:, None]) * D + dim[None, :]
        position = page * PAGE + key
        seen = (position >= oldest) & (position < length)
        k = tl.load(keys + at, mask=seen[:, None], other=0.0).to(OPERAND)
        v = tl.load(values + at, mask=seen[:, None], other=0.0).to(OPERAND)
        logits = tl.dot(queries, tl.trans(k), input_precision="ieee") * scale
        logits = tl.where(seen[None, :], logits, -1e30)
        above = tl.maximum(most, tl.max(logits, 1))
        shrink = tl.exp(most - above)
        p = tl.where(seen[None, :], tl.exp(logits - above[:, None]), 0.0)
        weight = weight * shrink + tl.sum(p, 1)
        total = total * shrink[:, None]
        total = tl.dot(p.to(OPERAND), v, total, input_precision="ieee")
        most = above
    slot = ((sequence * HEADS + head) * RUNS + run) * R + query
    some = weight > 0
    total = total / tl.where(some, weight, 1.0)[:, None]
    tl.store(sums + slot[:, None] * D + dim[None, :], total, mask=(query < R)[:, None])
    log_weight = tl.where(some, most + tl.log(tl.where(some, weight, 1.0)), -1e30)
    tl.store(weights + slot, log_weight, mask=query < R)


@triton.jit
def combine_kernel(
    sums,
    weights,
    sinks,  # [Hkv * R]
    out,  # [B, Hkv * R, D]
    HEADS: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    RUNS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    sequence, head = tl.program_id(0), tl.program_id(1)
    run, dim = tl.arange(0, RUNS), tl.arange(0, D)
    slot = ((sequence * HEADS + head // R) * RUNS + run) * R + head % R
    log_weight = tl.load(weights + slot)
    sink = tl.load(sinks + head).to(tl.float32)
    most = tl.maximum(tl.max(log_weight, 0), sink)
    share = tl.exp(log_weight - most)
    total = tl.sum(tl.load(sums + slot[:, None] * D + dim[None, :]) * share[:, None], 0)
    total = total / (tl.sum(share, 0) + tl.exp(sink - most))
    tl.store(out + (sequence * HEADS * R + head) * D + dim, total.to(out.dtype.element_ty))


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    *,
    window: int | None,
) -> Tensor:
    """Attend from one query a sequence, `q` [B, Hq, D], which stands last; returns [B, Hq, D].

    `keys` and `values` [pages, Hkv, 64, D]; `table` int32 [B, most pages] holds the page of each run of 64
    positions, `lengths` int32 [B] the positions of each sequence, the query's included. Pages that left the
    `window` are never looked up. Sinks are those of `harmony.kernels.attention`.
    """
    batch, heads, dim = q.shape
    kv_heads = keys.shape[1]
    assert keys.shape[2] == PAGE, keys.shape
    assert heads // kv_heads <= QUERIES, q.shape
    pages = table.shape[1] if window is None else min(table.shape[1], window // PAGE + 2)
    runs = min(MOST_RUNS, triton.next_power_of_2(-(-pages // 4)))  # four pages a run, before the cap
    shape = (batch, kv_heads, runs, heads // kv_heads)
    sums = torch.empty(*shape, dim, dtype=torch.float32, device=q.device)
    weights = torch.empty(shape, dtype=torch.float32, device=q.device)
    out = torch.empty_like(q)
    sizes = {"HEADS": kv_heads, "R": heads // kv_heads, "D": dim, "RUNS": runs}
    launch(
        runs_kernel,
        (batch, kv_heads, runs),
        q,
        keys,
        values,
        table,
        lengths,
        sums,
        weights,
        table.shape[1],
        window or 0,
        dim**-0.5,
        **sizes,
        PAGE=PAGE,
        QUERIES=QUERIES,
        OPERAND=operand(keys),
    )
    launch(combine_kernel, (batch, heads), sums, weights, sinks, out, **sizes, num_warps=2)
    return out
