"""Rows of a table that lies on the device, or in pinned memory of the host, which it can read."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import await_previous, launch

TILE = 1024


@triton.jit
def embedding_kernel(
    tokens,  # int64 [n]
    table,  # [V, H]
    out,  # float32 [n, H]
    columns,
    TILE: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = column < columns
    value = tl.load(table + tl.load(tokens + row) * columns + column, mask=inside, other=0.0)
    tl.store(out + row * columns + column, value.to(tl.float32), mask=inside)


def embed(tokens: Tensor, table: Tensor) -> Tensor:
    """As `harmony.kernels.embedding.embed`."""
    columns = table.shape[1]
    out = torch.empty(len(tokens), columns, dtype=torch.float32, device=tokens.device)
    launch(embedding_kernel, (len(tokens), -(-columns // TILE)), tokens, table, out, columns, TILE=TILE)
    return out
