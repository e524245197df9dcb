"""Queries, keys and values against float64, and what lies in the cache afterwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels.rope import rotation
from harmony.kernels.triton.qkv import qkv

HEADS, KV_HEADS, DIM, PAGE, PAGES = 3, 2, 32, 64, 4


def rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    cos, sin = cos[:, None].double(), sin[:, None].double()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "columns"), [(1, 64), (3, 330), (11, 96)])
def test_agrees_with_float64(tokens: int, columns: int, dtype: torch.dtype) -> None:
    """One token, a part of a tile, more than a tile; ragged columns; every other slot is left alone."""
    rows = (HEADS + 2 * KV_HEADS) * DIM
    x, weight, bias = torch.randn(tokens, columns), torch.randn(rows, columns).to(dtype), torch.randn(rows)
    norm, positions = torch.rand(columns), torch.randint(0, 100_000, (tokens,))
    cos, sin = rotation(positions, 150_000 ** -(torch.arange(DIM // 2) / (DIM / 2)), 1.3)
    slots = torch.randperm(PAGES * PAGE)[:tokens].int()
    keys, values = (torch.full((PAGES, KV_HEADS, PAGE, DIM), 7.0).to(dtype) for _ in range(2))

    exact = F.rms_norm(x.double(), (columns,), norm.double(), 1e-5) @ weight.double().T + bias.double()
    q, k, v = exact.view(tokens, -1, DIM).split((HEADS, KV_HEADS, KV_HEADS), dim=1)
    wanted_keys, wanted_values = keys.double(), values.double()
    for token, slot in enumerate(slots.tolist()):
        wanted_keys[slot // PAGE, :, slot % PAGE] = rotated(k, cos, sin)[token]
        wanted_values[slot // PAGE, :, slot % PAGE] = v[token]

    queries = qkv(x, norm, weight, bias, cos, sin, slots, keys, values)
    assert queries.dtype == dtype
    # The interpreter truncates to bfloat16 where a GPU rounds.
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    for ours, wanted in ((queries, rotated(q, cos, sin)), (keys, wanted_keys), (values, wanted_values)):
        assert torch.allclose(ours.double(), wanted, rtol=tolerance, atol=tolerance)
