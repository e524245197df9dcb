"""Attention of queries over the cache: each key and value is read once for all heads of its group.

A block of keys is weighed at a time, as in FlashAttention (Dao et al. 2022), so that a thread needs no more
memory than its stack has, however long the context.
"""

from typing import Final

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.tape import empty

NEAR: Final = 32 << 10  # bytes that a core's nearest cache holds
ROOM: Final = 256 << 10  # bytes of a thread's stack
LEAST: Final = 16  # keys in a block


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
    group = heads // kv_heads
    besides = 2 * (size + 1)  # numbers of a head: its query, sums, top and total
    block = max(LEAST, NEAR // (4 * group) - besides)
    assert 4 * group * (besides + block) <= ROOM
    found = empty(n, heads, size, dtype=queries.dtype)
    pool().run(
        kernel("attention.attention"), n * kv_heads,
        queries.contiguous(), keys.data_ptr(), values.data_ptr(), table, lengths, sinks, found,
        kv_heads, group, size, table.shape[1], page, *keys.stride()[:3], window or 0, block,
    )  # fmt: skip
    return found
