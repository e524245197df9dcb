"""Causal attention with sinks, over all keys or a sliding window of them."""

import torch
from torch import Tensor

from harmony.kernels import cpu

MOST_SCORES = 1 << 24  # float32 scores of one pass: 64 MiB


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor, *, window: int | None = None
) -> Tensor:
    """Attend from `queries` [n, Hq, D] to `keys` and `values` [m, Hkv, D]; returns [n, Hq, D].

    The keys are those of m consecutive positions, of which the queries are the last n <= m. A query
    sees itself and what precedes it, `window` keys in all; None means everything. Query head h reads
    key head h // (Hq / Hkv). Each head's `sinks` [Hq] value is one more logit in its softmax, without
    a value row (Xiao et al. 2023, arXiv:2309.17453; the gpt-oss model card). Scores and softmax are
    float32, the result has the dtype of the queries.
    """
    n, m = len(queries), len(keys)
    assert n <= m == len(values), (queries.shape, keys.shape, values.shape)
    assert queries.shape[1] % keys.shape[1] == 0, (queries.shape, keys.shape)
    if cpu.serves(queries) and cpu.computes_alone(n):
        from harmony.kernels.cpu.attention import attention as on_cpu

        return on_cpu(queries, keys, values, sinks.float(), window)
    q, k, v, sink = queries.float(), keys.float(), values.float(), sinks.float()
    rows = max(1, MOST_SCORES // (queries.shape[1] * m))
    passes = [
        _attend(q[start : start + rows], m - n + start, k, v, sink, window) for start in range(0, n, rows)
    ]
    return torch.cat(passes).to(queries.dtype)


def _attend(
    queries: Tensor, position: int, keys: Tensor, values: Tensor, sinks: Tensor, window: int | None
) -> Tensor:
    """Attend from consecutive queries, the first of which stands at key number `position`."""
    n, heads, head_dim = queries.shape
    kv_heads = keys.shape[1]
    first = 0 if window is None else max(0, position - window + 1)
    seen = slice(first, position + n)
    groups = queries.view(n, kv_heads, heads // kv_heads, head_dim)
    scores = torch.einsum("ngrd,mgd->grnm", groups, keys[seen]) * head_dim**-0.5
    if n > 1:
        positions = torch.arange(first, position + n, device=queries.device)
        distance = positions[-n:, None] - positions
        hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
        scores = scores.masked_fill_(hidden, float("-inf"))
    sink = sinks.view(kv_heads, -1, 1, 1).expand(-1, -1, n, 1)
    weights = torch.cat((scores, sink), dim=-1).softmax(-1)[..., :-1]
    return torch.einsum("grnm,mgd->ngrd", weights, values[seen]).reshape(n, heads, head_dim)
