"""Queries, keys and values of a few new tokens: the product, and one pass that rotates and places them."""

from harmony.kernels.cpu.compiled.elementwise import turn
from harmony.kernels.cpu.compiled.llvm import load_i32, load_u16, store_u16


def place(arguments, first, last):
    """Rotate the queries of some rows, and their keys to where the cache has them; copy their values."""
    products, cos, sin, slots = arguments[0], arguments[1], arguments[2], arguments[3]
    keys, values, queries = arguments[4], arguments[5], arguments[6]
    heads, kv_heads, page, dim = arguments[7], arguments[8], arguments[9], arguments[10]
    half = dim // 2
    for row in range(first, last):
        cosines, sines = cos + 4 * row * half, sin + 4 * row * half
        at = products + 2 * row * (heads + 2 * kv_heads) * dim
        for head in range(heads):
            turn(at + 2 * head * dim, cosines, sines, queries + 2 * (row * heads + head) * dim, half)
        slot = load_i32(slots + 4 * row)
        for head in range(kv_heads):
            to = 2 * (((slot // page) * kv_heads + head) * page + slot % page) * dim
            turn(at + 2 * (heads + head) * dim, cosines, sines, keys + to, half)
            value = at + 2 * (heads + kv_heads + head) * dim
            for index in range(dim):
                store_u16(values + to + 2 * index, load_u16(value + 2 * index))
