"""Attention of chunks over pages against the torch reference over consecutive keys."""

import pytest
import torch
from torch import Tensor

from harmony.kernels.attention import attention
from harmony.kernels.triton.decode_attention import PAGE, decode_attention
from harmony.kernels.triton.prefill_attention import prefill_attention

HEADS, KV_HEADS, DIM = 6, 2, 16


def cached(
    lengths: list[int], dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """Keys and values of each sequence, and the same in shuffled pages that hold NaN everywhere else."""
    most = -(-max(lengths) // PAGE)
    table = torch.randperm(len(lengths) * most).view(len(lengths), most).int()
    pages = torch.full((2, table.numel(), KV_HEADS, PAGE, DIM), float("nan")).to(dtype)
    kept = [torch.randn(2, length, KV_HEADS, DIM).to(dtype) for length in lengths]
    for sequence, both in enumerate(kept):
        for position in range(both.shape[1]):
            pages[:, table[sequence, position // PAGE], :, position % PAGE] = both[:, position]
    return [both[0] for both in kept], [both[1] for both in kept], pages[0], pages[1], table


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 70])
@pytest.mark.parametrize(("before", "new"), [([0], [1]), ([0, 130], [65, 7]), ([63, 0, 5], [40, 3, 1])])
def test_agrees_with_the_reference(
    before: list[int], new: list[int], window: int | None, dtype: torch.dtype
) -> None:
    """First chunks, chunks after a prefix that is no whole page, and sequences of different lengths."""
    lengths = [old + more for old, more in zip(before, new, strict=True)]
    keys, values, key_pages, value_pages, table = cached(lengths, dtype)
    q, sinks = torch.randn(sum(new), HEADS, DIM).to(dtype), torch.randn(HEADS)
    starts = torch.tensor([0, *new]).cumsum(0).int()
    wanted = [
        attention(queries.float(), k.float(), v.float(), sinks, window=window)
        for queries, k, v in zip(q.split(new), keys, values, strict=True)
    ]
    ours = prefill_attention(
        q,
        key_pages,
        value_pages,
        table,
        starts,
        torch.tensor(lengths).int(),
        sinks,
        longest=max(new),
        window=window,
    )
    assert ours.dtype == dtype
    # The interpreter truncates to bfloat16 where a GPU rounds.
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    assert torch.allclose(ours.float(), torch.cat(wanted), rtol=tolerance, atol=tolerance)


def test_one_token_is_a_decode_step() -> None:
    """The last token of a chunk sees what a decode step at its place sees."""
    _, _, keys, values, table = cached([90], torch.float32)
    q, sinks, lengths = torch.randn(20, HEADS, DIM), torch.randn(HEADS), torch.tensor([90]).int()
    starts = torch.tensor([0, 20]).int()
    chunk = prefill_attention(q, keys, values, table, starts, lengths, sinks, longest=20, window=30)
    step = decode_attention(q[-1:], keys, values, table, lengths, sinks, window=30)
    assert torch.allclose(chunk[-1], step[0], atol=1e-5)
