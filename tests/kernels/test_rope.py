"""YaRN against the numbers of the published configuration."""

import math

import torch

from harmony.kernels.rope import rotate, rotation, yarn_concentration, yarn_frequencies


def published() -> torch.Tensor:
    return yarn_frequencies(64, theta=150000.0, factor=32.0, initial_context=4096, alpha=1.0, beta=32.0)


def test_published_ramp() -> None:
    """The ramp runs from 8.092779 to 17.398025, unrounded."""
    low, high = 8.092779, 17.398025
    for pair, ours in enumerate(published().tolist()):
        plain = 150000.0 ** (-2 * pair / 64)
        slowed = min(1.0, max(0.0, (pair - low) / (high - low)))
        assert math.isclose(ours, plain * (slowed / 32 + 1 - slowed), rel_tol=1e-6)


def test_ramp_ends_are_not_rounded() -> None:
    """Rounding them to 8 and 18 would change the frequency of pair 17 by three quarters."""
    plain = 150000.0 ** (-34 / 64)
    rounded = (17 - 8) / (18 - 8)
    wrong = plain * (rounded / 32 + 1 - rounded)
    assert abs(wrong / float(published()[17]) - 1) > 0.7


def test_concentration() -> None:
    """0.1 ln 32 + 1, and 1 for plain RoPE."""
    assert math.isclose(yarn_concentration(32.0), 1.3465736, rel_tol=1e-7)
    assert yarn_concentration(1.0) == 1.0


def test_factor_of_one_is_plain_rope() -> None:
    """Without a stretch every pair keeps its frequency."""
    ours = yarn_frequencies(64, theta=150000.0, factor=1.0, initial_context=4096, alpha=1.0, beta=32.0)
    assert torch.allclose(ours, 150000.0 ** (-torch.arange(0, 64, 2) / 64), rtol=1e-6)


def test_pairs_are_halves_apart() -> None:
    """Dimension i turns with dimension i + D / 2, by the position times the frequency."""
    cos, sin = rotation(torch.tensor([3]), torch.tensor([0.5, 0.25]), 2.0)
    turned = rotate(torch.tensor([[[1.0, 0.0, 0.0, 1.0]]]), cos, sin)[0, 0]
    wanted = [2 * math.cos(1.5), -2 * math.sin(0.75), 2 * math.sin(1.5), 2 * math.cos(0.75)]
    assert torch.allclose(turned, torch.tensor(wanted), atol=1e-6)


def test_scores_depend_on_the_distance_alone() -> None:
    """A query and a key rotated by positions m and n score the same wherever m - n is the same."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 64), torch.randn(1, 1, 64)
    frequencies = published()

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(x, *rotation(torch.tensor([position]), frequencies, 1.0))

    def score(at_q: int, at_k: int) -> float:
        return float((turned(q, at_q) * turned(k, at_k)).sum())

    assert math.isclose(score(7, 2), score(1005, 1000), abs_tol=1e-3)
