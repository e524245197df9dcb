"""The clamped SwiGLU between the two matrices of an expert."""

import torch
from torch import Tensor


def swiglu(x: Tensor, *, alpha: float = 1.702, limit: float = 7.0) -> Tensor:
    """Gate and halve `x` [..., 2 I], in which gate and up values alternate, to [..., I].

    gate * sigmoid(alpha * gate) * (up + 1), after the gate is clamped from above and the up value from
    both sides at `limit` (the gpt-oss model card).
    """
    gate = x[..., 0::2].clamp(max=limit)
    up = x[..., 1::2].clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1)
