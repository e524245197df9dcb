"""Attention of one new token a sequence over a paged cache, split along the keys.

A program takes one sequence, one key head with its query heads, and one run of pages. It leaves the sums of
its run and their logarithmic weight; the program of a head that is done last adds the runs in order, and the
sink once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import COUNTERS, await_previous, counters, is_last, launch, operand

PAGE = 64
MOST_RUNS = 32
PROGRAMS = 512  # are enough for any device; more sequences take fewer runs
QUERIES = 16  # the least rows of a matrix product; gpt-oss has eight query heads to a key head


@triton.jit
def attention_kernel(
    q,  # [B, Hkv, R, D]
    keys,  # [pages, Hkv, PAGE, D]
    values,
    table,  # int32 [B, most pages]
    lengths,  # int32 [B], the new token included
    sums,  # float32 [B, Hkv, RUNS, R, D]
    weights,  # float32 [B, Hkv, RUNS, R], log sum exp of the run's logits
    counters,
    sinks,  # [Hkv * R]
    out,  # [B, Hkv * R, D]
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
    await_previous(DEPENDENT)
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
    asked = query < R
    sink = tl.load(sinks + head * R + query, mask=asked, other=0.0).to(tl.float32)
    target = out + ((sequence * HEADS + head) * R + query)[:, None] * D + dim[None, :]
    if RUNS == 1:
        above = tl.maximum(most, sink)
        shrink = tl.exp(most - above)
        total *= (shrink / (weight * shrink + tl.exp(sink - above)))[:, None]
        tl.store(target, total.to(out.dtype.element_ty), mask=asked[:, None])
    else:
        group = sequence * HEADS + head
        slot = (group * RUNS + run) * R + query
        some = weight > 0
        total = total / tl.where(some, weight, 1.0)[:, None]
        tl.store(sums + slot[:, None] * D + dim[None, :], total, mask=asked[:, None])
        log_weight = tl.where(some, most + tl.log(tl.where(some, weight, 1.0)), -1e30)
        tl.store(weights + slot, log_weight, mask=asked)
        if is_last(counters + group, RUNS):
            total = summed(sums, weights, sink, group, R, D, RUNS, QUERIES)
            tl.store(target, total.to(out.dtype.element_ty), mask=asked[:, None])


@triton.jit
def summed(
    sums, weights, sink, group, R: tl.constexpr, D: tl.constexpr, RUNS: tl.constexpr, QUERIES: tl.constexpr
):
    """The runs of a key head's queries together, in order: float32 [QUERIES, D]."""
    query, dim = tl.arange(0, QUERIES), tl.arange(0, D)
    asked = query < R
    slots = (group * RUNS + tl.arange(0, RUNS)[:, None]) * R + query[None, :]
    log_weights = tl.load(weights + slots, mask=asked[None, :], other=-1e30)
    most = tl.maximum(tl.max(log_weights, 0), sink)
    weight = tl.sum(tl.exp(log_weights - most[None, :]), 0) + tl.exp(sink - most)
    total = tl.zeros([QUERIES, D], dtype=tl.float32)
    for pair in tl.range(0, RUNS, 2):
        for run in tl.static_range(2):
            slot = (group * RUNS + pair + run) * R + query
            share = tl.exp(tl.load(weights + slot, mask=asked, other=-1e30) - most)
            part = tl.load(sums + slot[:, None] * D + dim[None, :], mask=asked[:, None], other=0.0)
            total += part * share[:, None]
    return total / weight[:, None]


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
    assert batch * kv_heads <= COUNTERS, q.shape
    pages = table.shape[1] if window is None else min(table.shape[1], window // PAGE + 2)
    wanted = min(MOST_RUNS, -(-pages // 4), max(1, PROGRAMS // (batch * kv_heads)))  # four pages or more
    runs = triton.next_power_of_2(wanted)
    shape = (batch, kv_heads, runs, heads // kv_heads)
    sums = torch.empty(*shape, dim, dtype=torch.float32, device=q.device)
    weights = torch.empty(shape, dtype=torch.float32, device=q.device)
    out = torch.empty_like(q)
    launch(
        attention_kernel,
        (batch, kv_heads, runs),
        q,
        keys,
        values,
        table,
        lengths,
        sums,
        weights,
        counters(q.device),
        sinks,
        out,
        table.shape[1],
        window or 0,
        dim**-0.5,
        HEADS=kv_heads,
        R=heads // kv_heads,
        D=dim,
        RUNS=runs,
        PAGE=PAGE,
        QUERIES=QUERIES,
        OPERAND=operand(keys),
    )
    return out
