"""Tensors of a checkpoint on a CPU in another dtype."""

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import torch
from torch import Tensor


def cast(stored: Tensor, dtype: torch.dtype) -> Tensor:
    """`stored` in this dtype; float8 row by row, where rows of zeros take neither time nor memory.

    Torch casts float8 one number after the other, and most rows of the tiny model's embedding are those of
    tokens that it never saw. What is not written of fresh memory is all one page of zeros, which stays in a
    core's cache while the others are read.
    """
    if stored.dtype != torch.float8_e4m3fn:
        return stored.to(dtype)
    codes = stored.reshape(-1, stored.shape[-1]).view(torch.uint8)
    fresh = mmap(-1, stored.numel() * dtype.itemsize, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    found = torch.frombuffer(fresh, dtype=dtype).view(codes.shape)
    (written,) = codes.any(1).nonzero(as_tuple=True)
    found[written] = codes[written].view(stored.dtype).to(dtype)
    return found.view(stored.shape)
