"""The bit mask of a grammar, applied to logits in one pass."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import compute

WORD = 32  # tokens


def mask_logits(logits: Tensor, mask: Tensor, *, overwrite: bool) -> Tensor:
    """What `harmony.kernels.masking.mask_logits` computes, on a row of float32 that has as many bits."""
    logits = logits.contiguous()
    masked = logits if overwrite else torch.empty_like(logits)
    compute(kernel("masking.mask"), len(mask), logits, mask.contiguous(), masked)
    return masked
