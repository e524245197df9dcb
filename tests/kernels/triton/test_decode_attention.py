"""Decode attention over pages against the torch reference over consecutive keys, in float64."""

import pytest
import torch

from harmony.kernels.attention import attention
from harmony.kernels.triton import decode_attention as module
from harmony.kernels.triton.decode_attention import PAGE, decode_attention

HEADS, KV_HEADS, DIM = 6, 2, 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 128])
@pytest.mark.parametrize("lengths", [[1], [64, 65], [700, 3, 321]])
def test_agrees_with_the_reference(
    lengths: list[int], window: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequences of different lengths in scattered pages; unseen positions and pages hold NaN."""
    monkeypatch.setattr(module, "MOST_RUNS", 2)
    most = -(-max(lengths) // PAGE)
    order = torch.randperm(len(lengths) * most).view(len(lengths), most).int()
    keys = torch.full((order.numel(), KV_HEADS, PAGE, DIM), float("nan")).to(dtype)
    values = keys.clone()
    q, sinks = torch.randn(len(lengths), HEADS, DIM).to(dtype), torch.randn(HEADS)
    wanted = []
    for sequence, length in enumerate(lengths):
        k, v = (torch.randn(length, KV_HEADS, DIM).to(dtype) for _ in range(2))
        first = 0 if window is None else max(0, length - window)
        for position in range(first, length):
            page, row = order[sequence, position // PAGE], position % PAGE
            keys[page, :, row], values[page, :, row] = k[position], v[position]
        query = q[sequence, None].float()
        wanted.append(attention(query, k.float(), v.float(), sinks, window=window)[0])
    table = order.clone()
    ours = decode_attention(q, keys, values, table, torch.tensor(lengths).int(), sinks, window=window)
    assert ours.dtype == dtype
    # The interpreter truncates to bfloat16 where a GPU rounds.
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    assert torch.allclose(ours.float(), torch.stack(wanted), rtol=tolerance, atol=tolerance)
