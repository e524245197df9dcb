"""Attention of queries over the cache: each key and value is read once for all heads of its group."""

import math
from typing import Any

import numpy as np
from numba import carray, njit, types

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.bfloat16_wide import dot, place
from harmony.kernels.cpu.compiled.exponential import exp
from harmony.kernels.cpu.compiled.llvm import load_f32, load_i32, pointer_f32, store_f32
from harmony.kernels.cpu.compiled.wide import add_product, load, load_bf16, splat, store
from harmony.kernels.cpu.vectors import LANES

malloc = types.ExternalFunction("malloc", types.int64(types.int64))
free = types.ExternalFunction("free", types.void(types.int64))


@njit(fastmath={"contract", "reassoc", "nsz"})
def _softmax(at, count, sink, scale):
    """Turn logits into weights, which with that of the sink add up to one."""
    logits = carray(pointer_f32(at), count)
    top = sink
    for index in range(count):
        logits[index] *= scale
        top = max(top, logits[index])
    total = exp(sink - top)
    for index in range(count):
        logits[index] = exp(logits[index] - top)
        total += logits[index]
    for index in range(count):
        logits[index] /= total


@njit(inline="always")
def _add(sums, row, weight, size):
    """Add the `size` numbers of a row times its weight."""
    whole, factor = size // LANES * LANES, splat(weight)
    for column in range(0, whole, LANES):
        at = sums + 4 * column
        store(at, add_product(load(at), factor, load_bf16(row + 2 * column)))
    for column in range(whole, size):
        at = sums + 4 * column
        store_f32(at, load_f32(at) + weight * bfloat16.load(row, column))


def attention(arguments, first, last):
    """Item i: all heads that share key head i % kv_heads, of query i // kv_heads."""
    queries, keys, values, table = arguments[0], arguments[1], arguments[2], arguments[3]
    lengths, sinks, found, kv_heads = arguments[4], arguments[5], arguments[6], arguments[7]
    group, size, width, page = arguments[8], arguments[9], arguments[10], arguments[11]
    page_step, head_step, row_step, window = arguments[12], arguments[13], arguments[14], arguments[15]
    room: Any = np.int64(0)  # positions that a query of these sees
    for query in range(first // kv_heads, (last - 1) // kv_heads + 1):
        length = np.int64(load_i32(lengths + 4 * query))
        room = max(room, min(length, window) if window else length)
    weights = malloc(4 * group * (room + 2 * size))  # of an item; behind them its queries and sums
    floats, sums = weights + 4 * group * room, weights + 4 * group * (room + size)
    scale = np.float32(1 / math.sqrt(size))
    for item in range(first, last):
        query, kv_head = item // kv_heads, item % kv_heads
        pages, end = table + 4 * query * width, np.int64(load_i32(lengths + 4 * query))
        start = max(0, end - room)
        of_item = 2 * item * group * size
        for head in range(group):
            for index in range(size):
                to = 4 * (head * size + place(index, size))
                store_f32(floats + to, bfloat16.load(queries + of_item, head * size + index))
                store_f32(sums + 4 * (head * size + index), np.float32(0))
        for key in range(start, end):
            row = np.int64(load_i32(pages + 4 * (key // page))) * page_step + key % page * row_step
            at = keys + 2 * (row + kv_head * head_step)
            for head in range(group):
                logit = dot(at, floats + 4 * head * size, size)
                store_f32(weights + 4 * (head * room + key - start), logit)
        for head in range(group):
            sink = load_f32(sinks + 4 * (kv_head * group + head))
            _softmax(weights + 4 * head * room, end - start, sink, scale)
        for key in range(start, end):
            row = np.int64(load_i32(pages + 4 * (key // page))) * page_step + key % page * row_step
            at = values + 2 * (row + kv_head * head_step)
            for head in range(group):
                weight = load_f32(weights + 4 * (head * room + key - start))
                _add(sums + 4 * head * size, at, weight, size)
        for index in range(group * size):
            bfloat16.store(found + of_item, index, load_f32(sums + 4 * index))
    free(weights)
