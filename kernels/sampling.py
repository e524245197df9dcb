"""Draw tokens from logits, each draw by a seed of its own and under a grammar's bit mask.

Adding Gumbel noise times the temperature and taking the maximum draws from the softmax (Gumbel 1954), so
temperature 0 is the argmax. The noise of a token is that of Philox4x32-10 (Salmon et al. 2011) with the seed
as its key and the token as its counter: a function of both alone, the same on every device but for rounding.
"""

import torch
from torch import Tensor

from harmony.kernels import triton
from harmony.kernels.masking import mask_logits

WORD = 0xFFFFFFFF
ROUNDS = 10
NO_TOKEN = 0x7FFFFFFF
MULTIPLIERS, KEYS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


def sample(logits: Tensor, temperatures: Tensor, seeds: Tensor, mask: Tensor | None = None) -> Tensor:
    """Draw a token for each row of `logits` float32 [B, V]: int32 [B], on its device.

    `temperatures` float32 [B], 0 for the first largest logit; `seeds` int64 [B], one for every draw;
    `mask` int32 [B, ceil(V / 32)] has a bit for each token, as llguidance and xgrammar fill it. At least one
    token must be allowed. A row without a finite logit gives no id of the vocabulary, but a larger number.
    """
    if triton.serves(logits):
        from harmony.kernels.triton.sampling import sample as in_triton

        return in_triton(logits, temperatures, seeds, mask)
    noisy = logits + temperatures[:, None] * gumbel(seeds, logits.shape[1])
    best, tokens = (noisy if mask is None else mask_logits(noisy, mask)).max(-1)
    return torch.where(best.isfinite(), tokens, NO_TOKEN).int()


def gumbel(seeds: Tensor, tokens: int) -> Tensor:
    """The noise of each of so many tokens, for each of `seeds` int64 [B]: float32 [B, tokens]."""
    drawn = philox(seeds, torch.arange(tokens, device=seeds.device))
    signed = torch.where(drawn > WORD >> 1, WORD - drawn, drawn)
    uniform = (signed.float() * 4.6566127342e-10).clamp(min=1e-10)  # below 1, as Triton's tl.rand
    return -torch.log(-torch.log(uniform))


def philox(seeds: Tensor, counters: Tensor) -> Tensor:
    """The first word that Philox4x32-10 makes of each counter under each seed: int64 [seeds, counters]."""
    a, b, c, d = (counters & WORD)[None, :], *torch.zeros(3, 1, 1, dtype=torch.int64, device=seeds.device)
    key, other_key = (seeds & WORD)[:, None], (seeds >> 32 & WORD)[:, None]
    for _ in range(ROUNDS):
        (high, low), (other_high, other_low) = _product(a, MULTIPLIERS[0]), _product(c, MULTIPLIERS[1])
        a, b, c, d = other_high ^ b ^ key, other_low, high ^ d ^ other_key, low
        key, other_key = (key + KEYS[0]) & WORD, (other_key + KEYS[1]) & WORD
    return a


def _product(words: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """The high and the low word of products of 32-bit words, which an int64 cannot hold at once."""
    low, high = words * (by & 0xFFFF), words * (by >> 16)
    middle = (low >> 16) + high
    return middle >> 16, (middle << 16 | low & 0xFFFF) & WORD
