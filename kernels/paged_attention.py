"""Attention over keys and values that lie in pages, of one new token a sequence or of many."""

import torch
from torch import Tensor

from harmony.kernels import cpu, triton
from harmony.kernels.attention import attention


def decode_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    *,
    window: int | None,
) -> Tensor:
    """Attend from one query a sequence, `q` [B, Hq, D], which stands last; returns [B, Hq, D].

    `keys` and `values` [pages, Hkv, PAGE, D]; `table` int32 [B, most pages] holds the page of each run of
    PAGE positions, `lengths` int32 [B] the positions of each sequence, the query's included. Pages that left
    the `window` are never looked up. Sinks are those of `harmony.kernels.attention`.
    """
    if triton.serves(q):
        from harmony.kernels.triton.decode_attention import decode_attention as in_triton

        return in_triton(q, keys, values, table, lengths, sinks, window=window)
    if cpu.serves(q):
        from harmony.kernels.cpu.attention import decode_attention as on_cpu

        return on_cpu(q, keys, values, table, lengths, sinks, window)
    starts = torch.arange(len(q) + 1)
    return _each(q, keys, values, table, starts, lengths, sinks, window)


def prefill_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    starts: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    *,
    longest: int,
    window: int | None,
) -> Tensor:
    """Attend from the new tokens of each sequence, `q` [n, Hq, D], to what it holds; returns [n, Hq, D].

    Sequence i owns rows `starts`[i] to `starts`[i + 1] of q, int32 [B + 1], which stand last among its
    `lengths`[i] positions, int32 [B]; none has more than `longest` rows. Keys, values, table and sinks are
    those of `decode_attention`. A prompt may come in chunks, or begin after a cached prefix.
    """
    if triton.serves(q):
        from harmony.kernels.triton.prefill_attention import prefill_attention as in_triton

        return in_triton(q, keys, values, table, starts, lengths, sinks, longest=longest, window=window)
    return _each(q, keys, values, table, starts, lengths, sinks, window)


def attention_over_pages(
    q: Tensor, keys: Tensor, values: Tensor, pages: Tensor, length: int, sinks: Tensor, *, window: int | None
) -> Tensor:
    """As `harmony.kernels.attention.attention`, over the first `length` positions in `pages` int [pages]."""
    k, v = (pool.transpose(1, 2).index_select(0, pages).flatten(0, 1)[:length] for pool in (keys, values))
    return attention(q, k, v, sinks, window=window)


def _each(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    starts: Tensor,
    lengths: Tensor,
    sinks: Tensor,
    window: int | None,
) -> Tensor:
    page = keys.shape[2]
    found = []
    for row, (queries, length) in enumerate(
        zip(torch.split(q, starts.diff().tolist()), lengths.tolist(), strict=True)
    ):
        first = 0 if window is None else max(0, length - len(queries) + 1 - window) // page
        pages, left = table[row, first : -(-length // page)], length - first * page
        found.append(attention_over_pages(queries, keys, values, pages, left, sinks, window=window))
    return torch.cat(found)
