"""The clamped SwiGLU against its formula."""

import math

import torch

from harmony.kernels.swiglu import swiglu


def expected(gate: float, up: float) -> float:
    gate, up = min(gate, 7.0), max(-7.0, min(up, 7.0))
    return gate / (1 + math.exp(-1.702 * gate)) * (up + 1)


def test_gate_and_up_alternate_and_are_clamped() -> None:
    """Even places are gates, clamped from above only; odd places are up values, clamped on both sides."""
    pairs = [(1.0, 2.0), (9.0, 0.5), (-9.0, 0.5), (2.0, 9.0), (2.0, -9.0)]
    ours = swiglu(torch.tensor([value for pair in pairs for value in pair]))
    assert torch.allclose(ours, torch.tensor([expected(*pair) for pair in pairs]), atol=1e-6)
