"""The bit mask of a grammar, applied to logits in one pass."""

import torch
from torch import Tensor

from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import load_i32, store_allowed
from harmony.kernels.cpu.pool import compute

WORD = 32  # tokens


ALL = -1
"""A word that allows all of its tokens."""


def mask_logits(logits: Tensor, mask: Tensor, *, overwrite: bool) -> Tensor:
    """What `harmony.kernels.masking.mask_logits` computes, on a row of float32 that has as many bits."""
    logits = logits.contiguous()
    masked = logits if overwrite else torch.empty_like(logits)
    compute(_mask, len(mask), logits, mask.contiguous(), masked)
    return masked


@kernel
def _mask(arguments, first, last):
    """Item i: the tokens of word i."""
    logits, mask, masked = arguments[0], arguments[1], arguments[2]
    for word in range(first, last):
        at, allowed = 4 * WORD * word, load_i32(mask + 4 * word)
        if allowed != ALL or masked != logits:
            store_allowed(logits + at, allowed, masked + at)
