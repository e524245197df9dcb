"""Queries, keys and values of a few new tokens: the product, and one pass that rotates and places them."""

from torch import Tensor

from harmony.kernels.cpu.elementwise import rms_norm
from harmony.kernels.cpu.linear import linear
from harmony.kernels.cpu.loading import kernel
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
        kernel("qkv.place"), len(x),
        products, cos, sin, slots, keys, values, queries, heads, kv_heads, page, dim,
    )  # fmt: skip
    return queries
