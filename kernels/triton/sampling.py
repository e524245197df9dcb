"""Draw tokens from logits on the device, under a grammar's bit mask.

Adding Gumbel noise times the temperature and taking the maximum draws from the softmax (Gumbel 1954), so
one pass needs neither a sum nor a sort, and temperature 0 is the argmax. The noise is Philox's, a function
of the seed and the token alone.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from harmony.kernels.triton.launch import await_previous, launch

TILE = 4096


@triton.jit
def with_noise(logit, temperature, seed, token):
    """A logit plus Gumbel noise times the temperature: the largest is a draw from the softmax."""
    uniform = tl.maximum(tl.rand(seed, token), 1e-10)
    return logit - temperature * tl.log(-tl.log(uniform))


@triton.jit
def tile_kernel(
    logits,  # float32 [B, V]
    mask,  # int32 [B, words] or None: bit t % 32 of word t // 32 allows token t
    temperatures,  # float32 [B]
    seeds,  # int64 [B]
    best,  # float32 [B, TILES]
    tokens,  # int32 [B, TILES]
    vocabulary,
    words,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    sequence, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = tile * TILE + tl.arange(0, TILE)
    allowed = token < vocabulary
    if mask is not None:
        word = tl.load(mask + sequence * words + token // 32, mask=allowed, other=0)
        allowed = allowed & (((word >> (token % 32)) & 1) != 0)
    logit = tl.load(logits + sequence * vocabulary + token, mask=allowed, other=float("-inf"))
    noisy = with_noise(logit, tl.load(temperatures + sequence), tl.load(seeds + sequence), token)
    noisy = tl.where(allowed, noisy, float("-inf"))
    highest = tl.max(noisy, 0)
    first = tl.min(tl.where(noisy == highest, token, vocabulary), 0)
    tl.store(best + sequence * TILES + tile, highest)
    tl.store(tokens + sequence * TILES + tile, first)


@triton.jit
def best_kernel(
    best,  # float32 [B, tiles]
    tokens,  # int32 [B, tiles]
    out,  # int32 [B]
    tiles,
    POOL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    await_previous(DEPENDENT)
    sequence, tile = tl.program_id(0), tl.arange(0, POOL)
    inside = tile < tiles
    value = tl.load(best + sequence * tiles + tile, mask=inside, other=float("-inf"))
    token = tl.load(tokens + sequence * tiles + tile, mask=inside, other=0x7FFFFFFF)
    tl.store(out + sequence, tl.min(tl.where(value == tl.max(value, 0), token, 0x7FFFFFFF), 0))


def sample(logits: Tensor, temperatures: Tensor, seeds: Tensor, mask: Tensor | None = None) -> Tensor:
    """Draw a token for each row of `logits` float32 [B, V]: int32 [B], on the device.

    `temperatures` float32 [B], 0 for the first largest logit; `seeds` int64 [B], one for every draw;
    `mask` int32 [B, ceil(V / 32)] has a bit for each token, as llguidance and xgrammar fill it. At least one
    token must be allowed.
    """
    batch, vocabulary = logits.shape
    tiles = triton.cdiv(vocabulary, TILE)
    best = torch.empty(batch, tiles, dtype=torch.float32, device=logits.device)
    tokens = torch.empty(batch, tiles, dtype=torch.int32, device=logits.device)
    words = 0 if mask is None else mask.shape[1]
    arguments = (logits, mask, temperatures, seeds, best, tokens, vocabulary, words)
    launch(tile_kernel, (batch, tiles), *arguments, TILES=tiles, TILE=TILE, num_warps=8)
    return best_of(best, tokens)


def best_of(best: Tensor, tokens: Tensor) -> Tensor:
    """The token, of `tokens` int32 [B, tiles], that has the largest of `best` float32 in its row."""
    batch, tiles = best.shape
    out = torch.empty(batch, dtype=torch.int32, device=best.device)
    launch(best_kernel, (batch,), best, tokens, out, tiles, POOL=triton.next_power_of_2(tiles))
    return out
