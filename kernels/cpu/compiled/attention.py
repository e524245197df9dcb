"""Attention of queries over the cache, by blocks of keys."""

import math

import numpy as np
from numba import carray, njit

from harmony.kernels.cpu.attention import ROOM
from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.bfloat16_wide import dot, place
from harmony.kernels.cpu.compiled.exponential import exp
from harmony.kernels.cpu.compiled.llvm import load_f32, load_i32, pointer_f32, stack, store_f32
from harmony.kernels.cpu.compiled.wide import add_product, load, load_bf16, splat, store
from harmony.kernels.cpu.vectors import LANES

_room = stack(ROOM)


@njit(fastmath={"contract", "reassoc", "nsz"})
def _weigh(at, count, top, scale):
    """Turn logits into weights beside one at `top`, or at the largest of them; give that and their sum."""
    logits, total = carray(pointer_f32(at), count), np.float32(0)
    for index in range(count):
        logits[index] *= scale
        top = max(top, logits[index])
    for index in range(count):
        logits[index] = exp(logits[index] - top)
        total += logits[index]
    return top, total


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
    block, floats = arguments[16], _room()
    sums = floats + 4 * group * size
    tops = sums + 4 * group * size
    totals = tops + 4 * group
    weights = totals + 4 * group
    scale = np.float32(1 / math.sqrt(size))
    for item in range(first, last):
        query, kv_head = item // kv_heads, item % kv_heads
        pages, end = table + 4 * query * width, np.int64(load_i32(lengths + 4 * query))
        of_item = 2 * item * group * size
        for head in range(group):
            for index in range(size):
                to = 4 * (head * size + place(index, size))
                store_f32(floats + to, bfloat16.load(queries + of_item, head * size + index))
                store_f32(sums + 4 * (head * size + index), np.float32(0))
            store_f32(tops + 4 * head, load_f32(sinks + 4 * (kv_head * group + head)))
            store_f32(totals + 4 * head, np.float32(1))  # the sink's own weight
        seen = min(end, window) if window else end
        for number in range((seen + block - 1) // block):
            start = end - seen + number * block
            stop = min(start + block, end)
            for key in range(start, stop):
                row = np.int64(load_i32(pages + 4 * (key // page))) * page_step + key % page * row_step
                at = keys + 2 * (row + kv_head * head_step)
                for head in range(group):
                    logit = dot(at, floats + 4 * head * size, size)
                    store_f32(weights + 4 * (head * block + key - start), logit)
            for head in range(group):
                before = load_f32(tops + 4 * head)
                top, total = _weigh(weights + 4 * head * block, stop - start, before, scale)
                kept = exp(before - top)
                store_f32(tops + 4 * head, top)
                store_f32(totals + 4 * head, load_f32(totals + 4 * head) * kept + total)
                for index in range(head * size, (head + 1) * size):
                    store_f32(sums + 4 * index, load_f32(sums + 4 * index) * kept)
            for key in range(start, stop):
                row = np.int64(load_i32(pages + 4 * (key // page))) * page_step + key % page * row_step
                at = values + 2 * (row + kv_head * head_step)
                for head in range(group):
                    weight = load_f32(weights + 4 * (head * block + key - start))
                    _add(sums + 4 * head * size, at, weight, size)
        for head in range(group):
            share = np.float32(1) / load_f32(totals + 4 * head)
            for index in range(head * size, (head + 1) * size):
                bfloat16.store(found + of_item, index, load_f32(sums + 4 * index) * share)
