"""Attention of a few queries over the cache: each key and value is read once for all heads of its group."""

import math

import numpy as np
import torch
from numba import carray, njit
from torch import Tensor

from harmony.kernels.cpu import bfloat16
from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import load_f32, pointer_f32, pointer_u16
from harmony.kernels.cpu.pool import pool


def attention(queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor, window: int | None) -> Tensor:
    """What `harmony.kernels.attention.attention` computes, on bfloat16 and float32 `sinks`."""
    n, heads, head_dim = queries.shape
    m, kv_heads, _ = keys.shape
    seen = m if window is None else window
    scores = torch.empty(n, heads, min(m, seen))
    sums = torch.empty(n, heads, head_dim)
    pool().run(
        _attention, n * kv_heads,
        queries.float(), keys, values, sinks, scores, sums,
        n, m, kv_heads, heads // kv_heads, head_dim, seen, min(m, seen),
    )  # fmt: skip
    return sums.to(queries.dtype)


@njit(fastmath={"contract", "reassoc", "nsz"})
def _add(total, value, weight, size):
    sums, numbers = carray(pointer_f32(total), size), carray(pointer_u16(value), size)
    for index in range(size):
        sums[index] += weight * bfloat16.value(numbers[index])


@njit(inline="always")
def _softmax(logits, sink, scale):
    """Turn logits into weights, which with that of the sink add up to one."""
    top = sink
    for index in range(len(logits)):
        logits[index] *= scale
        top = max(top, logits[index])
    total = math.exp(sink - top)
    for index in range(len(logits)):
        logits[index] = math.exp(logits[index] - top)
        total += logits[index]
    for index in range(len(logits)):
        logits[index] /= total


@kernel
def _attention(arguments, first, last):
    """Item i: all heads that share key head i % kv_heads, of query i // kv_heads."""
    queries, keys, values = arguments[0], arguments[1], arguments[2]
    sinks, scores, sums = arguments[3], arguments[4], arguments[5]
    n, m, kv_heads, group, size = arguments[6], arguments[7], arguments[8], arguments[9], arguments[10]
    window, room = arguments[11], arguments[12]
    scale = np.float32(1 / math.sqrt(size))
    for item in range(first, last):
        query, kv_head = item // kv_heads, item % kv_heads
        end = m - n + query + 1
        start = max(0, end - window)
        head = query * kv_heads * group + kv_head * group
        for key in range(start, end):
            row = keys + 2 * (key * kv_heads + kv_head) * size
            for index in range(head, head + group):
                logits = carray(pointer_f32(scores + 4 * index * room), room)
                logits[key - start] = bfloat16.dot(row, queries + 4 * index * size, size)
        for index in range(head, head + group):
            sink = load_f32(sinks + 4 * (kv_head * group + index - head))
            logits = carray(pointer_f32(scores + 4 * index * room), end - start)
            _softmax(logits, sink, scale)
            out = carray(pointer_f32(sums + 4 * index * size), size)
            out[:] = 0
        for key in range(start, end):
            row = values + 2 * (key * kv_heads + kv_head) * size
            for index in range(head, head + group):
                weight = load_f32(scores + 4 * (index * room + key - start))
                _add(sums + 4 * index * size, row, weight, size)
