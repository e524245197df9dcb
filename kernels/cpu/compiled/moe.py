"""Experts on their packed weights: row by row for a few tokens, in unpacked tiles for many."""

import numpy as np
from numba import carray, njit

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.activation import swiglu
from harmony.kernels.cpu.compiled.avx512vnni import asked
from harmony.kernels.cpu.compiled.llvm import (
    load_f32,
    load_i64,
    load_u16,
    pointer_f32,
    pointer_u16,
    store_f32,
    store_i64,
)
from harmony.kernels.cpu.compiled.mxfp4 import finish, of_four, of_one, of_three, of_two, put
from harmony.kernels.cpu.compiled.streams import STREAMS
from harmony.kernels.cpu.mxfp4 import SIZE

PAIRS = 8  # of rows that are multiplied while as many that follow are asked for


def group(arguments, first, last):
    ids, places, rows, chosen, ends = arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]
    count, choices, top_k, experts = arguments[5], arguments[6], arguments[7], arguments[8]
    width, hidden = arguments[9], arguments[10]
    found, place = 0, 0
    for expert in range(experts):
        start = place
        for choice in range(choices):
            if load_i64(ids + 8 * choice) == expert:
                store_i64(places + 8 * choice, place)
                store_i64(rows + 8 * place, choice // top_k)
                place += 1
        if place > start:
            store_i64(chosen + 8 * found, expert)
            store_i64(ends + 8 * found, place)
            found += 1
    store_i64(count, found)
    store_i64(count + 8, found * width)
    store_i64(count + 16, found * (hidden // 2))


@njit(inline="always")
def _scale(total, weight):
    for index in range(len(total)):
        total[index] *= weight


@njit(inline="always")
def _add(total, weight, other):
    for index in range(len(total)):
        total[index] += weight * other[index]


@njit(inline="always")
def _round(rounded, total):
    for index in range(len(total)):
        rounded[index] = bfloat16.rounded(total[index])


@njit(inline="always")
def _round_to(rounded, total, residual):
    """The rounded total and what it is added to, rounded again."""
    for index in range(len(total)):
        value = bfloat16.value(bfloat16.rounded(total[index]))
        rounded[index] = bfloat16.rounded(value + bfloat16.value(residual[index]))


def mix(arguments, first, last):
    """Item i: the sum of row i's choices by their weights, in their order, which overwrites the first."""
    outputs, places, weights, residual = arguments[0], arguments[1], arguments[2], arguments[3]
    mixed, top_k, hidden = arguments[4], arguments[5], arguments[6]
    for row in range(first, last):
        of_row, at = row * top_k, 2 * row * hidden
        total = carray(pointer_f32(outputs + 4 * load_i64(places + 8 * of_row) * hidden), hidden)
        _scale(total, load_f32(weights + 4 * of_row))
        for choice in range(of_row + 1, of_row + top_k):
            other = carray(pointer_f32(outputs + 4 * load_i64(places + 8 * choice) * hidden), hidden)
            _add(total, load_f32(weights + 4 * choice), other)
        rounded = carray(pointer_u16(mixed + at), hidden)
        if residual:
            _round_to(rounded, total, carray(pointer_u16(residual + at), hidden))
        else:
            _round(rounded, total)


@njit(inline="always")
def _store_row(x, vector, columns, width):
    """A row of bfloat16 as a stored vector, with zeros behind it."""
    for column in range(columns):
        put(vector, column, load_u16(x + 2 * column))
    for column in range(columns, width):
        put(vector, column, np.uint16(0))
    finish(vector, columns)


def store(arguments, first, last):
    x, vectors, columns, width = arguments[0], arguments[1], arguments[2], arguments[3]
    for row in range(first, last):
        _store_row(x + 2 * row * columns, vectors + SIZE * row * width, columns, width)


@njit(inline="always")
def _activate_all(activated, sums, alpha, limit):
    for index in range(len(activated)):
        gate, up = sums[2 * index], sums[2 * index + 1]
        activated[index] = bfloat16.rounded(np.float32(swiglu(gate, up, alpha, limit)))


def activate(arguments, first, last):
    """Item i: the activations of choice i, as bfloat16 and as a stored vector."""
    sums, activated, shape, vectors = arguments[0], arguments[1], arguments[2], arguments[3]
    width, padded = arguments[4], arguments[5]
    alpha, limit = load_f32(shape), load_f32(shape + 4)
    for choice in range(first, last):
        at = activated + 2 * choice * width
        pairs = carray(pointer_f32(sums + 8 * choice * width), 2 * width)
        _activate_all(carray(pointer_u16(at), width), pairs, alpha, limit)
        _store_row(at, vectors + SIZE * choice * padded, width, padded)


@njit(inline="always")
def _row(rows, place):
    return load_i64(rows + 8 * place) if rows else place


@njit(inline="always")
def _row_of(chosen, item, pairs):
    """The first row of an item, among those of all experts."""
    return 2 * (load_i64(chosen + 8 * (item // pairs)) * pairs + item % pairs)


@njit(inline="always")
def _put_two(sums, more, totals):
    store_f32(sums, totals[0] + more[0])
    store_f32(sums + 4, totals[1] + more[1])


def multiply(arguments, first, last):
    """Item i: outputs 2 j and 2 j + 1 of expert i // (outputs / 2), where j is the rest; with the bias.

    A place's vector is that of its row, or its own where there are no `rows`. PAIRS items at a time are
    computed while as many that follow are asked for.
    """
    blocks, scales, bias, table = arguments[0], arguments[1], arguments[2], arguments[3]
    chosen, ends, rows, vectors, sums = arguments[4], arguments[5], arguments[6], arguments[7], arguments[8]
    columns, outputs, padded = arguments[9], arguments[10], arguments[11]
    pairs, size, step = outputs // 2, SIZE * padded, 4 * outputs
    for item in range(first, last):
        group, output, number = item // pairs, item % pairs * 2, (item - first) % PAIRS
        after = min(item - number + PAIRS, last - 1)
        ahead = blocks + _row_of(chosen, after, pairs) * (columns // 2) + number * asked(columns)
        row, part = _row_of(chosen, item, pairs), PAIRS // STREAMS * columns
        at, scale = blocks + row * (columns // 2), scales + row * (columns // 32)
        more = bfloat16.load(bias, row), bfloat16.load(bias, row + 1)
        place, end = load_i64(ends + 8 * (group - 1)) if group else 0, load_i64(ends + 8 * group)
        while place < end:
            to, left = sums + step * place + 4 * output, end - place
            one = vectors + size * _row(rows, place)
            two = vectors + size * _row(rows, min(place + 1, end - 1))
            if left == 1:
                _put_two(to, more, of_one(at, scale, one, columns, table, ahead, part))
            elif left == 2:
                a, b = of_two(at, scale, (one, two), columns, table, ahead, part)
                _put_two(to, more, a)
                _put_two(to + step, more, b)
            else:
                three = vectors + size * _row(rows, place + 2)
                if left == 3:
                    a, b, c = of_three(at, scale, (one, two, three), columns, table, ahead, part)
                else:
                    four = vectors + size * _row(rows, place + 3)
                    a, b, c, d = of_four(at, scale, (one, two, three, four), columns, table, ahead, part)
                    _put_two(to + 3 * step, more, d)
                _put_two(to, more, a)
                _put_two(to + step, more, b)
                _put_two(to + 2 * step, more, c)
            place, ahead, part = place + 4, at, 0
