"""Attention of queries over the cache: each key and value is read once for all heads of its group."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.tape import empty


def attention(queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor, window: int | None) -> Tensor:
    """What `harmony.kernels.attention.attention` computes, on bfloat16 and float32 `sinks`."""
    n, m = len(queries), len(keys)
    table, lengths = torch.zeros(n, 1, dtype=torch.int32), torch.arange(m - n + 1, m + 1, dtype=torch.int32)
    pages = keys.transpose(0, 1)[None], values.transpose(0, 1)[None]
    return decode_attention(queries, *pages, table, lengths, sinks, window)


def decode_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    window: int | None,
) -> Tensor:
    """What `harmony.kernels.paged_attention.decode_attention` computes, on bfloat16 and float32 `sinks`.

    `keys` and `values` may be strided in any way that leaves the D numbers of a head in a row.
    """
    n, heads, size = queries.shape
    assert keys.stride(-1) == 1
    assert keys.stride() == values.stride()
    _, kv_heads, page, _ = keys.shape
    found = empty(n, heads, size, dtype=queries.dtype)
    pool().run(
        kernel("attention.attention"), n * kv_heads,
        queries.contiguous(), keys.data_ptr(), values.data_ptr(), table, lengths, sinks, found,
        kv_heads, heads // kv_heads, size, table.shape[1], page, *keys.stride()[:3], window or 0,
    )  # fmt: skip
    return found
