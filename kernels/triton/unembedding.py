"""The last product of a model with the draw of the next token in its epilogue: no logit reaches memory.

A program takes 64 tokens of the vocabulary and leaves the best of them. Where a grammar's mask forbids them
all to every sequence, their weights are not read.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.dense_matvec import COLUMNS, PARTS, row_products, tile_tokens
from harmony.kernels.triton.launch import await_previous, launch, on_amd, operand
from harmony.kernels.triton.sampling import best_of, with_noise

ROWS = 64


@triton.jit
def unembed_kernel(
    x,  # [B, K]
    norm,  # float32 [K]
    weight,  # [V, K]
    mask,  # int32 [B, words] or None
    temperatures,  # float32 [B]
    seeds,  # int64 [B]
    best,  # float32 [B, tiles]
    tokens,  # int32 [B, tiles]
    batch,
    vocabulary,
    words,
    tiles,
    eps,
    K: tl.constexpr,
    OPERAND: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    sequence = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    real, tile = sequence < batch, tl.program_id(1)
    row = tile * ROWS + tl.arange(0, ROWS)
    allowed = (row < vocabulary)[:, None] & real[None, :]
    if mask is not None:
        word = tl.load(mask + (sequence * words)[None, :] + row[:, None] // 32, mask=allowed, other=0)
        allowed = allowed & (((word >> (row % 32)[:, None]) & 1) != 0)
    highest = tl.full([TOKENS], float("-inf"), dtype=tl.float32)
    first = tl.full([TOKENS], 0x7FFFFFFF, dtype=tl.int32)
    if tl.max(tl.max(allowed.to(tl.int32), 0), 0) > 0:
        logit = row_products(
            x, norm, weight, row, vocabulary, sequence, batch, eps, K, OPERAND, PARTS, COLUMNS
        )
        temperature = tl.load(temperatures + sequence, mask=real, other=0.0)
        seed = tl.load(seeds + sequence, mask=real, other=0)
        noisy = with_noise(logit, temperature[None, :], seed[None, :], row[:, None])
        noisy = tl.where(allowed, noisy, float("-inf"))
        highest = tl.max(noisy, 0)
        first = tl.min(tl.where(allowed & (noisy == highest[None, :]), row[:, None], 0x7FFFFFFF), 0)
    tl.store(best + sequence * tiles + tile, highest, mask=real)
    tl.store(tokens + sequence * tiles + tile, first, mask=real)


def unembed_sample(
    x: Tensor,
    norm: Tensor,
    weight: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    mask: Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """Draw a token for each row of `x` [B, K] from the logits weight . rms_norm(x, norm, eps): int32 [B].

    `weight` [V, K], `norm` float32 [K]; temperatures, seeds and mask are those of
    `harmony.kernels.triton.sampling.sample`, which draws the same tokens from the same logits.
    """
    batch, columns = x.shape
    vocabulary = len(weight)
    tiles = triton.cdiv(vocabulary, ROWS)
    best = torch.empty(batch, tiles, dtype=torch.float32, device=x.device)
    tokens = torch.empty(batch, tiles, dtype=torch.int32, device=x.device)
    launch(
        unembed_kernel,
        (triton.cdiv(batch, tile_tokens()), tiles),
        x,
        norm,
        weight,
        mask,
        temperatures,
        seeds,
        best,
        tokens,
        batch,
        vocabulary,
        0 if mask is None else mask.shape[1],
        tiles,
        eps,
        K=columns,
        OPERAND=operand(weight),
        ROWS=ROWS,
        PARTS=PARTS,
        COLUMNS=COLUMNS,
        TOKENS=tile_tokens(),
        num_stages=2 if on_amd() else 3,  # by shared memory
    )
    return best_of(best, tokens)
