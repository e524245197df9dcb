"""The beginning of a model: the rows of its tokens."""

import torch.nn.functional as F
from torch import Tensor

from harmony.kernels import triton


def embed(tokens: Tensor, table: Tensor) -> Tensor:
    """The rows of `table` [V, H] for `tokens` int64 [n], on their device: float32 [n, H].

    The table may lie in pinned memory of the host: a GPU reads the rows there by itself, so a CUDA graph can
    hold it, and nobody waits for tokens that were drawn on the device.
    """
    if triton.serves(tokens):
        from harmony.kernels.triton.embedding import embed as in_triton

        return in_triton(tokens, table)
    return F.embedding(tokens.to(table.device), table).to(tokens.device).float()
