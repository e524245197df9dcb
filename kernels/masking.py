"""Apply the bit masks of a grammar to logits."""

from functools import cache

import torch
from torch import Tensor

from harmony.kernels import cpu

NEVER = float("-inf")


def mask_logits(logits: Tensor, mask: Tensor, *, overwrite: bool = False) -> Tensor:
    """`logits` [V] or [B, V] with minus infinity for what `mask` int32 [words] or [B, words] rules out.

    Token t is bit t % 32 of word t // 32; ids beyond the mask are ruled out. The result is a new tensor;
    with `overwrite` it may be `logits` itself, of which a mask that allows most tokens changes little.
    """
    if _fits(logits, mask):
        from harmony.kernels.cpu.masking import mask_logits as on_cpu

        return on_cpu(logits, mask, overwrite=overwrite)
    octets = mask.to(logits.device, non_blocking=True).contiguous().view(torch.uint8)
    bits = _bits(logits.device).index_select(0, octets.flatten().int()).view(torch.bool)
    allowed = bits.view(*octets.shape[:-1], -1)[..., : logits.shape[-1]]
    beyond = logits.shape[-1] - allowed.shape[-1]
    if beyond:
        allowed = torch.nn.functional.pad(allowed, (0, beyond))
    return torch.where(allowed, logits, NEVER)


def _fits(logits: Tensor, mask: Tensor) -> bool:
    """Whether the kernels of a CPU compute it: one row of whole words."""
    is_row = logits.ndim == mask.ndim == 1 and len(logits) == 32 * len(mask)
    on_cpu = logits.device.type == mask.device.type == "cpu" and logits.dtype == torch.float32
    return is_row and on_cpu and cpu.level() != "torch"


@cache
def _bits(device: torch.device) -> Tensor:
    """The eight bits of each octet, lowest first, as the eight bytes of an int64 [256]."""
    octets = torch.arange(256, dtype=torch.uint8).unsqueeze(1)
    return ((octets >> torch.arange(8, dtype=torch.uint8)) & 1).view(torch.int64).flatten().to(device)
