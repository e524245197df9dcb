"""Queries, keys and values of new tokens: norm, product, rotation, and the write into the paged cache."""

import torch
from torch import Tensor

from harmony.kernels import cpu, triton
from harmony.kernels.linear import linear
from harmony.kernels.rms_norm import rms_norm
from harmony.kernels.rope import rotate


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
    """The rotated queries [n, Hq, D] of `x` [n, K]; its keys and values are written into their pages.

    `norm` float32 [K]; `weight` [(Hq + 2 Hkv) D, K] and `bias` hold the rows of queries, keys and values, in
    this order; `cos` and `sin` float32 [n, D / 2] are those of `harmony.kernels.rope.rotation`. `keys` and
    `values` [pages, Hkv, PAGE, D] are written at `slots` int32 [n], each a page times PAGE plus a row of it.
    The queries have the dtype of the cache.
    """
    if triton.serves(x) and len(x) <= triton.FEW_ROWS:
        from harmony.kernels.triton.qkv import qkv as in_triton

        return in_triton(x, norm, weight, bias, cos, sin, slots, keys, values, eps=eps)
    if cpu.serves(x) and len(x) <= cpu.FEW_ROWS:
        from harmony.kernels.cpu.qkv import qkv as on_cpu

        return on_cpu(x, norm, weight, bias, cos, sin, slots, keys, values, eps=eps)
    _, kv_heads, page, dim = keys.shape
    products = linear(rms_norm(x, norm, eps).to(weight.dtype), weight, bias).view(len(x), -1, dim)
    q, k, v = torch.split(products, [products.shape[1] - 2 * kv_heads, kv_heads, kv_heads], dim=1)
    pages, rows = slots // page, slots % page
    keys[pages, :, rows] = rotate(k, cos, sin).to(keys.dtype)
    values[pages, :, rows] = v.to(values.dtype)
    return rotate(q, cos, sin).to(keys.dtype)
