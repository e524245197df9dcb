"""Attention against the formula, one query and one head at a time in float64."""

import math

import pytest
import torch
from torch import Tensor

from harmony.kernels import attention as module
from harmony.kernels.attention import attention


def heads(n: int, m: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(n * 1000 + m)
    return torch.randn(n, 6, 8), torch.randn(m, 2, 8), torch.randn(m, 2, 8), torch.randn(6)


def by_formula(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, window: int | None) -> Tensor:
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    for row in range(len(q)):
        position = len(k) - len(q) + row
        first = 0 if window is None else max(0, position - window + 1)
        for head in range(q.shape[1]):
            group = head // (q.shape[1] // k.shape[1])
            logits = k[first : position + 1, group] @ q[row, head] / math.sqrt(q.shape[2])
            weights = logits.exp() / (logits.exp().sum() + sinks[head].double().exp())
            out[row, head] = weights @ v[first : position + 1, group]
    return out


@pytest.mark.parametrize("window", [None, 1, 4, 100])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (5, 5), (5, 23)])
def test_agrees_with_the_formula(n: int, m: int, window: int | None) -> None:
    """Sinks, grouped heads, causality and window hold, with and without earlier keys."""
    q, k, v, sinks = heads(n, m)
    ours = attention(q, k, v, sinks, window=window)
    assert torch.allclose(ours.double(), by_formula(q, k, v, sinks, window), atol=1e-6)


@pytest.mark.parametrize("window", [None, 4])
def test_passes_change_nothing(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting the queries into passes of two rows gives the same result."""
    q, k, v, sinks = heads(7, 20)
    whole = attention(q, k, v, sinks, window=window)
    monkeypatch.setattr(module, "MOST_SCORES", 2 * 6 * 20)
    assert torch.allclose(attention(q, k, v, sinks, window=window), whole, atol=1e-6)


def test_huge_sink_silences_a_head() -> None:
    """A sink far above all logits takes the whole softmax, and nothing overflows."""
    q, k, v, _ = heads(3, 8)
    assert attention(q, k, v, torch.full((6,), 1e4)).abs().max() == 0


def test_window_counts_the_query_itself() -> None:
    """A window of 128 shows 127 keys before the query: an outlier at distance 127 counts, at 128 not."""
    q, k, sinks = torch.zeros(1, 1, 2), torch.zeros(200, 1, 2), torch.full((1,), -1e9)
    for distance, seen in ((127, True), (128, False)):
        v = torch.zeros(200, 1, 2)
        v[199 - distance] = 128.0
        assert bool(attention(q, k, v, sinks, window=128).any()) is seen


def test_keeps_the_dtype() -> None:
    """bfloat16 goes in and comes out; the softmax in between is float32."""
    q, k, v, sinks = (t.bfloat16() for t in heads(4, 4))
    ours = attention(q, k, v, sinks)
    assert ours.dtype == torch.bfloat16
    assert torch.allclose(ours.double(), by_formula(q, k, v, sinks, None), atol=1e-2)
