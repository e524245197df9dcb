"""Drafts change how many steps a generation takes, and nothing else."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.grammars import Grammars
from harmony.runtime.lookup import MOST, NGRAM, PAUSE, PromptLookup
from harmony.runtime.model import Transformer
from harmony.runtime.paged import PagedCache
from harmony.runtime.request import Request
from harmony.runtime.scheduler import Scheduler

PROMPT = [5, 17, 290, 3, 44]
GRAMMAR = """start: %json {"type": "array", "items": {"enum": ["a cat", "a dog", 17, null]}, "minItems": 6,
    "x-guidance": {"whitespace_flexible": false}} <|end|>"""


def served(
    model: Transformer, sampling: SamplingParams, grammars: Grammars | None = None, grammar: str = GRAMMAR
) -> tuple[list[GeneratedToken], int]:
    """The tokens, and how many steps they took."""
    constraint = None if grammars is None else Constraint(grammars, grammar)
    guide = None if constraint is None else Guide(constraint, 60)
    request = Request(PROMPT, sampling, (256,), 60, constraint, guide)
    cache = PagedCache(model.config, 10, 40, dtype=model.dtype, device=model.device)
    scheduler, steps = Scheduler(model, cache), 0
    scheduler.add(request)
    while not request.ended:
        scheduler.step()
        steps += 1
    return request.collect(), steps


@pytest.mark.parametrize("temperature", [0, 1, 3])
@pytest.mark.parametrize("constrained", [False, True])
def test_any_draft_gives_the_same_tokens(
    temperature: float,
    constrained: bool,
    model: Transformer,
    byte_grammars: Grammars,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """True, wrong from anywhere on, or true by chance: tokens and log-probabilities stay, steps are saved."""
    sampling = SamplingParams(temperature=temperature, seed=4, logprobs=2)
    grammars = byte_grammars if constrained else None
    monkeypatch.setattr(PromptLookup, "draft", lambda self, most: [])
    expected, slow = served(model, sampling, grammars)
    random = Random(7)

    def partly_true(self: PromptLookup, most: int) -> list[int]:
        start = len(self._tokens) - len(PROMPT)
        draft = [token.token for token in expected[start : start + random.randrange(MOST)]]
        wrong = random.randrange(MOST)
        return [token if n != wrong else 299 - token for n, token in enumerate(draft)][:most]

    monkeypatch.setattr(PromptLookup, "draft", partly_true)
    tokens, fast = served(model, sampling, grammars)
    assert [token.token for token in tokens] == [token.token for token in expected]
    assert [token.logprob for token in tokens] == pytest.approx(
        [token.logprob for token in expected], abs=1e-4
    )
    assert fast < slow


def test_what_repeats_itself_takes_fewer_steps(
    model: Transformer, byte_grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two letters to choose from, three that come again are often followed by the same ones."""
    case = model, SamplingParams(temperature=0), byte_grammars, "start: /[ab]{50}/"
    tokens, steps = served(*case)
    monkeypatch.setattr(PromptLookup, "draft", lambda self, most: [])
    plain, slow = served(*case)
    assert tokens == plain
    assert steps < slow


@given(st.lists(st.integers(0, 2), min_size=NGRAM, max_size=60), st.integers(0, 20))
def test_a_draft_is_what_came_before(tokens: list[int], most: int) -> None:
    """It stood behind the same tokens already, and is no longer than asked."""
    draft = PromptLookup(tokens).draft(most)
    assert len(draft) <= most
    earlier = range(NGRAM, len(tokens))
    known = [end for end in earlier if tokens[end - NGRAM : end] == tokens[-NGRAM:]]
    assert bool(draft) == (bool(known) and most > 0)
    if draft:
        assert draft == tokens[known[-1] : known[-1] + len(draft)]


def test_wrong_drafts_pause() -> None:
    """Where nothing comes true drafts stop for a while; where all does they grow."""
    tokens = [1, 2, 3, 4] * 30
    lookup = PromptLookup(tokens)
    lengths = []
    for _ in range(5):
        draft = lookup.draft(100)
        lengths.append(len(draft))
        lookup.judge(draft, len(draft))
    assert lengths == [2, 4, 4, 4, 4]
    lookup.judge(lookup.draft(100), 0)
    for _ in range(PAUSE):
        assert lookup.draft(100) == []
        tokens.append(tokens[-4])
    assert lookup.draft(100)
