"""The bounds, against the published figures of both models and a slow count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.runtime.bench.roofline import (
    cache_bytes,
    experts_met,
    linear_flops,
    prefill_flops,
    step_bytes,
    weight_bytes,
)
from harmony.runtime.bench.shapes import SHAPES

BANDWIDTH, PRODUCT = 4.3e12, 790e12  # of an H200

DECODE = [  # batch, experts met, gigabytes of weights, and at 1k, 8k and 64k gigabytes and tokens a second
    ("20b", 1, 4.00, 3.708, (3.74, 1151), (3.91, 1099), (5.32, 808)),
    ("20b", 8, 21.00, 9.110, (9.34, 3684), (10.75, 3201), (22.02, 1562)),
    ("20b", 32, 31.55, 12.461, (13.37, 10292), (19.01, 7240), (64.10, 2147)),
    ("20b", 128, 32.00, 12.603, (16.23, 33904), (38.78, 14192), (219.2, 2511)),
    ("120b", 1, 4.00, 5.003, (5.05, 852), (5.31, 810), (7.42, 579)),
    ("120b", 8, 28.71, 16.778, (17.12, 2010), (19.23, 1789), (36.14, 952)),
    ("120b", 32, 81.66, 42.007, (43.37, 3173), (51.82, 2655), (119.5, 1152)),
    ("120b", 128, 125.80, 63.042, (68.49, 8036), (102.3, 5380), (372.9, 1476)),
]

PREFILL = [  # thousands of tokens; gigaflops a token, and thousands of tokens a second, of both models
    (1, (6.18, 127.8), (9.29, 85.0)),
    (8, (6.89, 114.7), (10.35, 76.3)),
    (32, (9.30, 84.9), (13.97, 56.5)),
    (128, (18.97, 41.7), (28.47, 27.7)),
]


@pytest.mark.parametrize(("model", "batch", "experts", "weights", "short", "middle", "long"), DECODE)
def test_decode(
    model: str,
    batch: int,
    experts: float,
    weights: float,
    short: tuple[float, int],
    middle: tuple[float, int],
    long: tuple[float, int],
) -> None:
    """Experts met, bytes of weights and of a step, and the tokens a second that they allow."""
    config = SHAPES[model]
    assert experts_met(config, batch) == pytest.approx(experts, abs=0.006)
    assert weight_bytes(config, batch) / 1e9 == pytest.approx(weights, abs=0.0006)
    for context, (moved, rate) in zip((1024, 8192, 65536), (short, middle, long), strict=True):
        found = step_bytes(config, batch, context)
        assert found / 1e9 == pytest.approx(moved, rel=6e-4, abs=0.006)
        assert batch * BANDWIDTH / found == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(("thousands", "smaller", "larger"), PREFILL)
def test_prefill(thousands: int, smaller: tuple[float, float], larger: tuple[float, float]) -> None:
    """Operations of a token, and the rate that the matrix product allows."""
    for model, (flops, rate) in (("20b", smaller), ("120b", larger)):
        found = prefill_flops(SHAPES[model], 1024 * thousands)
        assert found / 1e9 == pytest.approx(flops, abs=0.006)
        assert PRODUCT / found / 1e3 == pytest.approx(rate, abs=0.06)


def test_linear_layers() -> None:
    """A prompt token of 20b costs 6.056 billion operations in them, one of 120b 9.104."""
    assert [round(linear_flops(SHAPES[model]) / 1e9, 3) for model in ("20b", "120b")] == [6.056, 9.104]


@given(st.integers(0, 5000))
def test_a_cache_is_read_position_by_position(context: int) -> None:
    """Each layer reads the keys and values that it sees, and writes those of its token."""
    config = SHAPES["tiny"]
    seen = [
        position
        for window in map(config.window, range(config.num_hidden_layers))
        for position in range(context)
        if window is None or position >= context - window
    ]
    assert cache_bytes(config, context) == (len(seen) + config.num_hidden_layers) * 2 * 2 * config.kv_size


@given(st.integers(1, 300))
def test_a_batch_meets_more_experts_but_never_too_many(batch: int) -> None:
    """From those of one token up to all of them."""
    config = SHAPES["20b"]
    found = experts_met(config, batch)
    assert config.experts_per_token <= found + 1e-9
    assert found <= min(config.num_experts, batch * config.experts_per_token) + 1e-9
