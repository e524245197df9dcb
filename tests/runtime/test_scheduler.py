"""Which requests run, what they read in a step, and what they find in the cache."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from harmony.kernels import cpu
from harmony.kernels.cpu.threads import threads
from harmony.runtime.config import ModelConfig
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.memory import CPU_SEQUENCES, STEP_TOKENS
from harmony.runtime.model import Transformer
from harmony.runtime.paged import PagedCache
from harmony.runtime.request import Request
from harmony.runtime.scheduler import Scheduler


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each step of the model reads."""
    counts: list[int] = []
    step = Transformer.__call__

    def counted(self: Transformer, tokens: Tensor, *args: object, **options: bool) -> Tensor:
        counts.append(len(tokens))
        return step(self, tokens, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "__call__", counted)
    return counts


def new_scheduler(model: Transformer, full: int = 200, sliding: int = 200) -> Scheduler:
    return Scheduler(model, PagedCache(model.config, full, sliding, dtype=model.dtype, device=model.device))


def asked(prompt: Sequence[int], limit: int = 1) -> Request:
    return Request(prompt, SamplingParams(temperature=0), (), limit)


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def served(scheduler: Scheduler, *requests: Request) -> list[list[GeneratedToken]]:
    for request in requests:
        scheduler.add(request)
    while not all(request.ended for request in requests):
        scheduler.step()
    return [request.collect() for request in requests]


def test_a_second_turn_reads_only_what_is_new(model: Transformer, reads: list[int]) -> None:
    """The last token of the first turn, which nobody had read, and what the second puts behind it."""
    scheduler, first = new_scheduler(model), prompt(1000)
    [turn] = served(scheduler, asked(first, 30))
    reads.clear()
    [second] = served(scheduler, asked([*first, *(token.token for token in turn), *prompt(20, seed=1)]))
    assert reads == [1 + 20]
    assert second[0].cached_tokens == 1000 + 29


@pytest.mark.parametrize("length", [130, 192, 500])
def test_a_turn_without_its_reasoning_goes_on_from_its_prompt(
    length: int, model: Transformer, reads: list[int]
) -> None:
    """What follows the prompt may change, however much was generated: its end is a resume point."""
    scheduler, first = new_scheduler(model), prompt(length)
    served(scheduler, asked(first, 400))
    reads.clear()
    served(scheduler, asked([*first, *prompt(50, seed=1)]))
    assert reads == [50]


def test_where_prompts_part_others_go_on(model: Transformer, reads: list[int]) -> None:
    """A long beginning that prompts share is read twice at most: the second leaves a resume point."""
    scheduler, system = new_scheduler(model), prompt(700)
    for seed in range(4):
        served(scheduler, asked([*system, *prompt(300, seed=seed + 1)]))
    per_prompt = [STEP_TOKENS, 1000 - STEP_TOKENS]
    assert reads == [*per_prompt, *per_prompt, 300, 300]


def test_prompts_that_run_at_once_share_pages(model: Transformer) -> None:
    """The same prompt in several requests takes its full pages once, when they are read."""
    scheduler, shared = new_scheduler(model), prompt(640)
    requests = [asked([*shared, n], 50) for n in range(5)]
    for request in requests:
        scheduler.add(request)
    for _ in range(20):
        scheduler.step()
    cache = scheduler._cache
    assert cache.full.size - cache.full.available == 10 + 5


def test_a_short_prompt_does_not_wait_for_a_long_one(model: Transformer, reads: list[int]) -> None:
    """They share the tokens of a step; what the short one does not need the long one gets."""
    scheduler, long, short = new_scheduler(model), asked(prompt(2000), 2), asked(prompt(20), 2)
    scheduler.add(long)
    scheduler.step()
    scheduler.add(short)
    scheduler.step()
    scheduler.step()
    assert reads == [STEP_TOKENS] * 3
    assert short.ended
    assert not long.has_news


def test_each_that_generates_gets_a_token_in_each_step(model: Transformer) -> None:
    """However long the prompts beside it."""
    scheduler, first = new_scheduler(model), asked(prompt(5), 30)
    scheduler.add(first)
    scheduler.step()
    scheduler.add(asked(prompt(3000)))
    for count in range(1, 6):
        assert len(first.tokens) == 5 + count
        scheduler.step()


def test_requests_begin_in_the_order_they_came(model: Transformer) -> None:
    """One that waits for pages is not overtaken by those that need fewer."""
    scheduler = new_scheduler(model, full=10)
    requests = [asked(prompt(length, seed=length), 9) for length in (500, 400, 3)]
    for request in requests:
        scheduler.add(request)
    order = []
    while len(order) < 3:
        scheduler.step()
        order += [r for r in requests if r.ended and r not in order]
    assert order == requests


@pytest.mark.parametrize("most", [1, CPU_SEQUENCES, 24])
def test_no_more_than_a_batch_runs(model: Transformer, most: int) -> None:
    """The others wait."""
    scheduler = Scheduler(model, new_scheduler(model)._cache, max_sequences=most)
    requests = [asked([n], 2) for n in range(most + 3)]
    for request in requests:
        scheduler.add(request)
    scheduler.step()
    assert [request.has_news for request in requests] == [True] * most + [False] * 3


def test_the_youngest_gives_way_and_loses_nothing(model: Transformer) -> None:
    """When pages run out its own are taken; it goes on later, with the tokens of a run alone."""
    scheduler = new_scheduler(model, full=5)
    old, young = asked(prompt(120, seed=1), 150), asked(prompt(60, seed=2), 130)
    apart = [served(new_scheduler(model), asked(p.tokens, n)) for p, n in ((old, 150), (young, 130))]
    scheduler.add(old)
    scheduler.add(young)
    for _ in range(100):
        scheduler.step()
    assert (old.sequence is not None, young.sequence is None) == (True, True)
    while not young.ended:
        scheduler.step()
    assert [[request.collect()] for request in (old, young)] == apart


@pytest.mark.skipif(cpu.level() == "torch", reason="there torch computes everything")
def test_torch_takes_no_threads_from_the_pool(
    config: ModelConfig, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While few tokens are read, its operations stay in the thread of the step; then all is as before."""
    seen: list[tuple[int, int]] = []
    step = Transformer.__call__

    def watched(self: Transformer, *args: object, **options: bool) -> Tensor:
        seen.append((torch.get_num_threads(), threads()))
        return step(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "__call__", watched)
    torch.set_num_threads(2)
    served(new_scheduler(Transformer(config, state)), asked(prompt(9), limit=3))
    assert seen == [(1, 2)] * 3
    assert torch.get_num_threads() == 2
