"""The bit mask of a grammar, applied to logits in one pass."""

import torch
from torch import Tensor

from harmony.kernels.cpu.compiling import kernel
from harmony.kernels.cpu.llvm import load_i32, store_allowed
from harmony.kernels.cpu.pool import compute

WORD = 32  # tokens


def mask_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """What `harmony.kernels.masking.mask_logits` computes, on a row of float32 that has as many bits."""
    masked = torch.empty_like(logits)
    compute(_mask, len(mask), logits.contiguous(), mask.contiguous(), masked)
    return masked


@kernel
def _mask(arguments, first, last):
    """Item i: the tokens of word i."""
    logits, mask, masked = arguments[0], arguments[1], arguments[2]
    for word in range(first, last):
        at = 4 * WORD * word
        store_allowed(logits + at, load_i32(mask + 4 * word), masked + at)
