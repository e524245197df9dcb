"""Queries, keys and values of a few new tokens: the product, and one pass that rotates and places them."""

from torch import Tensor

from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.elementwise import rms_norm, turn
from harmony.kernels.cpu.linear import linear
from harmony.kernels.cpu.llvm import load_i32, load_u16, store_u16
from harmony.kernels.cpu.pool import compute_rows
from harmony.kernels.cpu.tape import empty


def qkv(
    x: Tensor,
    norm: Tensor,
    weight: Tensor,
    bias: Tensor,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    eps: float,
) -> Tensor:
    """What `harmony.kernels.qkv.qkv` computes, all in bfloat16 but `norm`, `cos` and `sin`."""
    products = linear(rms_norm(x, norm, eps), weight, bias)
    _, kv_heads, page, dim = keys.shape
    heads = weight.shape[0] // dim - 2 * kv_heads
    queries = empty(len(x), heads, dim, dtype=x.dtype)
    compute_rows(
        _place, len(x), products, cos, sin, slots, keys, values, queries, heads, kv_heads, page, dim
    )  # fmt: skip
    return queries


@kernel
def _place(arguments, first, last):
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
