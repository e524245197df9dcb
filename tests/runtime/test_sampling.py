"""Sampling: what each filter keeps, for any logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony.runtime.generation import SamplingParams
from harmony.runtime.sampling import keep_min_p, keep_top_k, keep_top_p, logprobs, new_generator, sample

logits_ = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40).map(torch.tensor)
shares = st.floats(0.01, 0.99)
quick = settings(max_examples=200, deadline=None)


def kept(logits: Tensor) -> set[int]:
    return set(logits.isfinite().nonzero().flatten().tolist())


def many(logits: Tensor, params: SamplingParams, count: int = 300) -> set[int]:
    generator = new_generator(0)
    return {sample(logits, params, generator) for _ in range(count)}


@quick
@given(logits_, st.integers(1, 50))
def test_top_k_keeps_the_k_largest(logits: Tensor, k: int) -> None:
    """Exactly k tokens stay (or all), and none that was dropped is larger than one that stayed."""
    left = kept(keep_top_k(logits, k))
    assert len(left) == min(k, len(logits))
    assert all(logits[i] >= logits[j] for i in left for j in set(range(len(logits))) - left)


@quick
@given(logits_, shares)
def test_top_p_keeps_the_fewest_that_reach_p(logits: Tensor, p: float) -> None:
    """What stays sums to p, what stays without its least likely token does not, and it is the top."""
    probabilities = logits.double().softmax(-1)
    left = kept(keep_top_p(logits, p))
    dropped = set(range(len(logits))) - left
    total = sum(float(probabilities[i]) for i in left)
    assert total >= p - 1e-5
    assert total - min(float(probabilities[i]) for i in left) < p + 1e-5
    assert all(logits[i] >= logits[j] - 1e-5 for i in left for j in dropped)


@quick
@given(logits_, shares)
def test_min_p_keeps_what_is_likely_enough(logits: Tensor, p: float) -> None:
    """A token stays when its probability is at least p times the largest."""
    ratio = (logits.double() - logits.double().max()).exp()
    left = kept(keep_min_p(logits, p))
    assert {i for i in range(len(logits)) if ratio[i] > p * 1.0001} <= left
    assert left <= {i for i in range(len(logits)) if ratio[i] > p * 0.9999}


@quick
@given(logits_, st.integers(0, 2**63), st.floats(0.1, 3), shares, st.integers(0, 10), shares)
def test_same_seed_same_tokens(
    logits: Tensor, seed: int, temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    """Two generators with one seed draw the same tokens, whatever the filters."""
    params = SamplingParams(temperature, top_p, top_k, min_p)
    first, second = new_generator(seed), new_generator(seed)
    for _ in range(3):
        assert sample(logits, params, first) == sample(logits, params, second)


@quick
@given(logits_)
def test_temperature_zero_is_argmax(logits: Tensor) -> None:
    """No randomness is left, and neither at a temperature near zero when one token leads."""
    greedy = sample(logits, SamplingParams(temperature=0), new_generator(None))
    assert logits[greedy] == logits.max()
    leads = logits.clone()
    leads[greedy] += 1
    assert sample(leads, SamplingParams(temperature=1e-30), new_generator(None)) == greedy


@quick
@given(logits_, st.data())
def test_logprobs_are_the_distribution(logits: Tensor, data: st.DataObject) -> None:
    """All tokens' probabilities sum to one, come best first, and the sampled token's is among them."""
    token = data.draw(st.integers(0, len(logits) - 1))
    logprob, top = logprobs(logits, token, len(logits))
    assert math.isclose(sum(math.exp(entry.logprob) for entry in top), 1, rel_tol=1e-4)
    assert [entry.logprob for entry in top] == sorted((entry.logprob for entry in top), reverse=True)
    assert logprob == next(entry.logprob for entry in top if entry.token == token)


def test_frequencies_follow_the_distribution() -> None:
    """Ten thousand draws come within four standard deviations of the probabilities."""
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0])
    generator = new_generator(1)
    draws = [sample(probabilities.log(), SamplingParams(), generator) for _ in range(10_000)]
    for token, p in enumerate(probabilities.tolist()):
        assert abs(draws.count(token) - 10_000 * p) <= 4 * math.sqrt(10_000 * p * (1 - p))


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000])
def test_a_draw_inverts_the_whole_distribution(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At numbers of any size, also at the ends of blocks, and never to a token that cannot come."""
    generator = new_generator(2)
    for number in (0.0, 1 - 2**-53, *torch.rand(200, dtype=torch.float64, generator=generator).tolist()):
        logits = torch.randn(size, generator=generator)
        logits[torch.rand(size, generator=generator) < 0.5] = -math.inf
        logits[int(torch.randint(size, (), generator=generator))] = 1
        monkeypatch.setattr(torch, "rand", lambda *_, n=number, **__: torch.tensor(n, dtype=torch.float64))
        token = sample(logits, SamplingParams(), generator)
        monkeypatch.undo()
        upto = logits.double().softmax(-1).cumsum(-1)
        assert logits[token].isfinite()
        assert float(upto[token]) >= number - 1e-6
        assert token == 0 or float(upto[token - 1]) <= number + 1e-6


@pytest.mark.parametrize("parameters", [{"temperature": 1e-320}, {"top_p": 1e-320}, {"temperature": 1e308}])
def test_the_smallest_and_the_largest_parameters(parameters: dict[str, float]) -> None:
    """What is 0 or infinite in float32 chooses the most likely token, or any that is not ruled out."""
    logits = torch.tensor([1.0, float("-inf"), 3.0, 2.0] * 400)
    drawn = many(logits, SamplingParams(**parameters))
    likeliest = set(range(2, 1600, 4))
    assert drawn <= (
        likeliest if min(parameters.values()) < 1 else likeliest | {*range(0, 1600, 4), *range(3, 1600, 4)}
    )


def test_temperature_comes_first() -> None:
    """A high temperature flattens what top-p sees, so that more tokens stay."""
    logits = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert many(logits, SamplingParams(temperature=1, top_p=0.6)) == {0}
    assert many(logits, SamplingParams(temperature=100, top_p=0.6)) == {0, 1, 2}


def test_filters_combine() -> None:
    """Top-p works on what top-k left, min-p on what top-p left."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert many(logits, SamplingParams(top_k=2, top_p=0.99)) == {0, 1}
    assert many(logits, SamplingParams(top_k=2, top_p=0.5)) == {0}
    assert many(logits, SamplingParams(top_k=3, min_p=0.6)) == {0, 1}


def test_fresh_seeds_differ() -> None:
    """Without a seed each generator draws its own numbers."""
    assert new_generator(None).initial_seed() != new_generator(None).initial_seed()


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"min_p": 2}, {"max_tokens": 0}, {"logprobs": -1}],
)
def test_out_of_range(wrong: dict[str, float]) -> None:
    """A parameter out of range is refused when it is given, not when it is used."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingParams(**wrong)  # type: ignore[arg-type]
