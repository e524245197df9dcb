"""Apply the bit masks of a grammar to logits."""

from functools import cache

import torch
from torch import Tensor

NEVER = float("-inf")


def mask_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """`logits` [V] or [B, V] with minus infinity for what `mask` int32 [words] or [B, words] rules out.

    Token t is bit t % 32 of word t // 32; ids beyond the mask are ruled out. The result is a new tensor.
    """
    octets = mask.to(logits.device, non_blocking=True).contiguous().view(torch.uint8)
    bits = _bits(logits.device).index_select(0, octets.flatten().int()).view(torch.bool)
    allowed = bits.view(*octets.shape[:-1], -1)[..., : logits.shape[-1]]
    beyond = logits.shape[-1] - allowed.shape[-1]
    if beyond:
        allowed = torch.nn.functional.pad(allowed, (0, beyond))
    return torch.where(allowed, logits, NEVER)


@cache
def _bits(device: torch.device) -> Tensor:
    """The eight bits of each octet, lowest first, as the eight bytes of an int64 [256]."""
    octets = torch.arange(256, dtype=torch.uint8).unsqueeze(1)
    return ((octets >> torch.arange(8, dtype=torch.uint8)) & 1).view(torch.int64).flatten().to(device)
