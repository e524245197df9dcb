"""The router: scores of all experts, computed for each row as if it were alone, and the best of them."""

import numpy as np

from harmony.kernels.cpu.compiled import bfloat16
from harmony.kernels.cpu.compiled.exponential import exp
from harmony.kernels.cpu.compiled.llvm import load_f32, store_f32, store_i64


def route(arguments, first, last):
    x, weight, bias, scores = arguments[0], arguments[1], arguments[2], arguments[3]
    weights, ids = arguments[4], arguments[5]
    experts, columns, top_k = arguments[6], arguments[7], arguments[8]
    for row in range(first, last):
        of_row = scores + 4 * row * experts
        for expert in range(experts):
            score = bfloat16.dot(x + 2 * row * columns, weight + 4 * expert * columns, columns)
            store_f32(of_row + 4 * expert, score + load_f32(bias + 4 * expert))
        best, total = np.float32(0), np.float32(0)
        for place in range(row * top_k, (row + 1) * top_k):
            chosen = 0
            for expert in range(1, experts):
                if load_f32(of_row + 4 * expert) > load_f32(of_row + 4 * chosen):
                    chosen = expert
            score = load_f32(of_row + 4 * chosen)
            store_f32(of_row + 4 * chosen, np.float32(-np.inf))
            if place == row * top_k:
                best = score
            store_i64(ids + 8 * place, chosen)
            store_f32(weights + 4 * place, exp(score - best))
            total += exp(score - best)
        for place in range(row * top_k, (row + 1) * top_k):
            store_f32(weights + 4 * place, load_f32(weights + 4 * place) / total)
