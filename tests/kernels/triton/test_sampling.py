"""Sampling on the device: the argmax, the mask, and the distribution."""

import pytest
import torch

from harmony.kernels.triton import sampling
from harmony.kernels.triton.sampling import TILE, sample


def test_temperature_zero_is_the_argmax() -> None:
    """Over several tiles, the last one not full; of equal logits the first."""
    logits = torch.randn(3, 2 * TILE + 5)
    logits[1, -1] = logits[2, 7] = logits[2, TILE + 1] = 50.0
    ours = sample(logits, torch.zeros(3), torch.arange(3))
    assert ours.tolist() == [int(logits[0].argmax()), 2 * TILE + 4, 7]


def test_the_mask_is_obeyed() -> None:
    """Whatever the temperature, a token whose bit is not set is never drawn."""
    vocabulary = TILE + 40
    logits = torch.randn(2, vocabulary)
    mask = torch.zeros(2, -(-vocabulary // 32), dtype=torch.int32)
    mask[0, 0], mask[1, TILE // 32 + 1] = -(2**31), 1 << 3  # tokens 31 and TILE + 35
    for temperature in (0.0, 1.0, 100.0):
        ours = sample(logits, torch.full((2,), temperature), torch.tensor([1, 2]), mask)
        assert ours.tolist() == [31, TILE + 35]


def test_draws_follow_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-squared over 400 draws of one token in eight at temperature 0.7 (seven degrees of freedom)."""
    monkeypatch.setattr(sampling, "TILE", 8)
    draws, logits = 400, torch.tensor([0.0, 0.5, 1.0, -1.0, 0.2, -0.3, 0.8, -1.0])
    ours = sample(logits.repeat(draws, 1), torch.full((draws,), 0.7), torch.arange(draws))
    expected = (logits / 0.7).softmax(-1) * draws
    counts = torch.bincount(ours.long(), minlength=8)
    assert float(((counts - expected).square() / expected).sum()) < 24.3  # p = 0.001


def test_a_seed_fixes_the_draw() -> None:
    """The same seed gives the same token in any row of a batch."""
    logits = torch.randn(1, 300).repeat(4, 1)
    ours = sample(logits, torch.ones(4), torch.tensor([5, 6, 5, 7]))
    assert ours[0] == ours[2]
    assert len(set(ours.tolist())) > 1
