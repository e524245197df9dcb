"""RMSNorm against its formula."""

import torch

from harmony.kernels.rms_norm import rms_norm


def test_agrees_with_the_formula() -> None:
    """x / sqrt(mean(x^2) + eps) * scale, row by row."""
    x, scale = torch.randn(3, 32), torch.randn(32)
    wanted = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale.double()
    assert torch.allclose(rms_norm(x, scale, 1e-5).double(), wanted, atol=1e-5)


def test_scale_comes_before_the_cast() -> None:
    """In bfloat16 only the final product is rounded."""
    x, scale = torch.randn(64).bfloat16(), torch.randn(64)
    assert torch.equal(rms_norm(x, scale, 1e-5), rms_norm(x.float(), scale, 1e-5).bfloat16())
