"""Rates from arrival times, and idle gaps from the times of kernels."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.runtime.bench.idle import between_steps, gaps
from harmony.runtime.bench.timing import arrivals, random_prompts, steady_rate
from harmony.runtime.generation import GeneratedToken

Spans = list[tuple[int, int]]


def test_the_rate_of_one() -> None:
    """The tokens after the first, over the time that they took."""
    assert steady_rate([[5.0, 5.5, 6.0, 7.0]]) == pytest.approx(3 / 2)


def test_the_rate_of_several() -> None:
    """Only the time counts in which all of them decode: here from 2 to 4."""
    assert steady_rate([[0.0, 1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]]) == pytest.approx(4 / 2)


def test_no_rate_where_they_took_turns() -> None:
    """One that ends before the other begins was not in its batch."""
    assert steady_rate([[0.0, 1.0], [1.0, 2.0]]) is None


def test_arrivals() -> None:
    """Tokens, their times in order, and what came from the cache."""

    async def generation() -> AsyncGenerator[GeneratedToken]:
        for token in (7, 8, 9):
            yield GeneratedToken(token, cached_tokens=5)

    found = asyncio.run(arrivals(generation()))
    assert (found.tokens, found.cached) == ((7, 8, 9), 5)
    assert found.first >= 0
    assert list(found.times) == sorted(found.times)


def test_prompts() -> None:
    """They differ from each other, and shorter ones begin longer ones of the same seed."""
    long, short, others = (random_prompts(3, n, 500, seed) for n, seed in ((900, 1), (20, 1), (20, 2)))
    assert [prompt[:20] for prompt in long] == short
    assert len({tuple(prompt) for prompt in short + others}) == 6
    assert all(0 <= token < 500 for prompt in long for token in prompt)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)).map(lambda p: (p[0], p[0] + p[1])), min_size=1)
)
def test_gaps_are_the_times_that_nothing_covers(spans: Spans) -> None:
    """As counted unit by unit, whatever overlaps, and in whatever order kernels are listed."""
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    covered = [any(start <= unit < end for start, end in spans) for unit in range(first, last)]
    assert sum(gaps(spans)) == covered.count(False)
    assert all(gap > 0 for gap in gaps(spans))


def test_gaps_between_steps() -> None:
    """Two steps of three kernels with a microsecond between kernels and nine between steps."""
    starts = (0, 3, 6, 17, 20, 23, 34, 37, 40)
    busy = [(start, start + 2) for start in starts]
    assert between_steps(busy, 3) == 9
    assert sum(gaps(busy)) == 6 * 1 + 2 * 9
    assert between_steps([], 3) == 0
