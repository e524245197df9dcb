"""The products of a bfloat16 row with bfloat16 vectors, by vdpbf16ps.

A vector's sum is the same whether it is multiplied alone or with three others: its even runs of 32 columns
are added up in one register, the odd ones in another.
"""

from numba import njit

from harmony.kernels.cpu.compiled.avx512 import AHEAD
from harmony.kernels.cpu.compiled.llvm import (
    add_f32x16,
    load_first_i16x32,
    load_i16x32,
    prefetch,
    store_f32,
    total_f32x16,
    x86_dot_bf16,
    zero_f32x16,
)


@njit(inline="always")
def _tail(total, row, vector, columns):
    """Add the products of the last `columns` % 64 columns."""
    done = columns // 64 * 64
    while done < columns:
        left = min(columns - done, 32)
        weights = load_first_i16x32(row + 2 * done, left)
        total = x86_dot_bf16(total, weights, load_first_i16x32(vector + 2 * done, left))
        done += 32
    return total


@njit(inline="always")
def dot(row, vector, columns):
    """Multiply `columns` numbers of a row and a vector."""
    even, odd = zero_f32x16(), zero_f32x16()
    for pair in range(columns // 64):
        at, x = row + 128 * pair, vector + 128 * pair
        prefetch(at + AHEAD)
        prefetch(at + AHEAD + 64)
        even = x86_dot_bf16(even, load_i16x32(at), load_i16x32(x))
        odd = x86_dot_bf16(odd, load_i16x32(at + 64), load_i16x32(x + 64))
    return total_f32x16(_tail(add_f32x16(even, odd), row, vector, columns))


@njit(inline="always")
def dot_four(row, vectors, columns):
    """The same for four vectors that lie one behind the other."""
    a, b = vectors, vectors + 2 * columns
    c, d = b + 2 * columns, b + 4 * columns
    even_a, even_b, even_c, even_d = zero_f32x16(), zero_f32x16(), zero_f32x16(), zero_f32x16()
    odd_a, odd_b, odd_c, odd_d = zero_f32x16(), zero_f32x16(), zero_f32x16(), zero_f32x16()
    for pair in range(columns // 64):
        at, x = row + 128 * pair, 128 * pair
        prefetch(at + AHEAD)
        prefetch(at + AHEAD + 64)
        weights = load_i16x32(at)
        even_a = x86_dot_bf16(even_a, weights, load_i16x32(a + x))
        even_b = x86_dot_bf16(even_b, weights, load_i16x32(b + x))
        even_c = x86_dot_bf16(even_c, weights, load_i16x32(c + x))
        even_d = x86_dot_bf16(even_d, weights, load_i16x32(d + x))
        weights, x = load_i16x32(at + 64), x + 64
        odd_a = x86_dot_bf16(odd_a, weights, load_i16x32(a + x))
        odd_b = x86_dot_bf16(odd_b, weights, load_i16x32(b + x))
        odd_c = x86_dot_bf16(odd_c, weights, load_i16x32(c + x))
        odd_d = x86_dot_bf16(odd_d, weights, load_i16x32(d + x))
    return (
        total_f32x16(_tail(add_f32x16(even_a, odd_a), row, a, columns)),
        total_f32x16(_tail(add_f32x16(even_b, odd_b), row, b, columns)),
        total_f32x16(_tail(add_f32x16(even_c, odd_c), row, c, columns)),
        total_f32x16(_tail(add_f32x16(even_d, odd_d), row, d, columns)),
    )


@njit(inline="always")
def products(weights, rows, vectors, n, columns, sums, following):
    """Fill `sums` float32 [rows, n]: the first vectors read the rows from memory, others from the cache."""
    for vector in range(0, n - 3, 4):
        for row in range(rows):
            at, to = weights + 2 * row * columns, sums + 4 * (row * n + vector)
            a, b, c, d = dot_four(at, vectors + 2 * vector * columns, columns)
            store_f32(to, a)
            store_f32(to + 4, b)
            store_f32(to + 8, c)
            store_f32(to + 12, d)
    for vector in range(n // 4 * 4, n):
        for row in range(rows):
            value = dot(weights + 2 * row * columns, vectors + 2 * vector * columns, columns)
            store_f32(sums + 4 * (row * n + vector), value)
