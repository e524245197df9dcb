"""Apply the masks of a grammar to logits, on whatever device those are."""

import torch
from torch import Tensor

from harmony.kernels import masking
from harmony.runtime.token_table import Mask


def mask_logits(logits: Tensor, mask: Tensor | Mask) -> Tensor:
    """`logits` [V] or [B, V] with minus infinity for what `mask` int32 [words] or [B, words] rules out.

    Token t is bit t % 32 of word t // 32; ids beyond the mask are ruled out. The result is a new tensor.
    """
    return masking.mask_logits(logits, torch.as_tensor(mask))
