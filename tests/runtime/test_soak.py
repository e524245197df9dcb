"""The scheduler under load: random arrivals and cancellations, too few pages, prompts past window and page.

The tokens of every request are those of a run alone. Logits are float32 and differ in their last bits with
the number of rows in a step; no seed here meets two tokens that close.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from torch import Tensor

from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.grammars import Grammars
from harmony.runtime.model import Transformer
from harmony.runtime.paged import PagedCache
from harmony.runtime.pages import PagePool
from harmony.runtime.request import Request
from harmony.runtime.scheduler import Scheduler

CONTEXT = 640
PAGES = CONTEXT // 64, 24  # room for one whole context, which all share
GRAMMAR = """start: %json {"type": "array", "items": {"enum": ["a cat", "a dog", 17, null]}, "maxItems": 9,
    "x-guidance": {"whitespace_flexible": false}} <|end|>"""


@dataclass(eq=False)
class Asked:
    """A request as it is asked, served and compared."""

    prompt: list[int]
    sampling: SamplingParams
    grammar: bool
    patience: int  # steps after which it is cancelled
    tokens: list[GeneratedToken] = field(default_factory=list)
    request: Request | None = None

    def begin(self, grammars: Grammars) -> Request:
        limit = min(self.sampling.max_tokens or CONTEXT, CONTEXT - len(self.prompt))
        if not self.grammar:
            return Request(self.prompt, self.sampling, (299,), limit)
        constraint = Constraint(grammars, GRAMMAR)
        return Request(self.prompt, self.sampling, (299,), limit, constraint, Guide(constraint, limit))


def served_alone(model: Transformer, asked: Asked, grammars: Grammars) -> list[int]:
    scheduler, request = Scheduler(model, new_cache(model, (32, 64))), asked.begin(grammars)
    scheduler.add(request)
    while not request.ended:
        scheduler.step()
    return [token.token for token in request.collect()]


def new_cache(model: Transformer, pages: tuple[int, int]) -> PagedCache:
    return PagedCache(model.config, *pages, dtype=model.dtype, device=model.device)


def random_asked(random: Random, before: list[Asked]) -> Asked:
    """A new prompt, or the next turn of one before: what it was, what came of it, and something new."""
    prompt = [random.randrange(300) for _ in range(random.choice((1, 5, 20, 63, 64, 65, 130, 300)))]
    if before and random.random() < 0.6:
        earlier = random.choice(before[-4:])
        history = [*earlier.prompt, *(token.token for token in earlier.tokens)]
        kept = len(history) if random.random() < 0.6 else random.randrange(len(history))
        prompt = [*history[:kept], *prompt[:40]][: CONTEXT - 1]
    sampling = SamplingParams(
        temperature=random.choice((0, 0.7, 1, 3)),
        top_p=random.choice((1, 0.9)),
        top_k=random.choice((0, 20)),
        seed=random.randrange(1000),
        max_tokens=random.choice((1, 20, 80, 150)),
    )
    patience = random.randrange(25) if random.random() < 0.4 else 10**6
    return Asked(prompt, sampling, random.random() < 0.25, patience)


def soak(model: Transformer, grammars: Grammars, seed: int, count: int) -> tuple[list[Asked], PagedCache]:
    random, cache = Random(seed), new_cache(model, PAGES)
    scheduler, asked, open_ = Scheduler(model, cache), [], []
    while len(asked) < count or open_:
        if len(asked) < count and random.random() < 0.3:
            for _ in range(random.randrange(1, 5)):
                asked.append(
                    random_asked(random, [old for old in asked if old.request and old.request.ended])
                )
                open_.append(asked[-1])
                asked[-1].request = asked[-1].begin(grammars)
                scheduler.add(asked[-1].request)
        scheduler.step()
        for one in [*open_]:
            assert one.request is not None
            if one.request.has_news:
                one.tokens += one.request.collect()
            one.patience -= 1
            one.request.cancelled |= one.patience < 0
            if one.request.ended or one.request.cancelled:
                open_.remove(one)
    scheduler.step()
    return asked, cache


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often what the test is about has happened."""
    counts = Counter({"preempted": 0, "cancelled": 0, "evicted": 0})
    leave, evict, call = Request.leave, PagePool._evict, Transformer.__call__

    def leaving(self: Request) -> None:
        counts["preempted"] += not (self.ended or self.cancelled)
        counts["cancelled"] += self.cancelled
        leave(self)

    def evicting(self: PagePool) -> int:
        counts["evicted"] += 1
        return evict(self)

    def reading(self: Transformer, tokens: Tensor, cache: object, **options: bool) -> Tensor:
        logits = call(self, tokens, cache, **options)  # type: ignore[arg-type]
        counts["batches of several"] += len(logits) > 2
        counts["chunks beside tokens"] += len(tokens) > 64 + len(logits) > 64
        return logits

    monkeypatch.setattr(Request, "leave", leaving)
    monkeypatch.setattr(PagePool, "_evict", evicting)
    monkeypatch.setattr(Transformer, "__call__", reading)
    return counts


def test_every_request_gets_the_tokens_of_a_run_alone(
    model: Transformer, byte_grammars: Grammars, seen: Counter[str]
) -> None:
    """Whatever else runs, whenever it is cancelled, preempted, or resumed from what is cached."""
    for seed in (4, 5):
        asked, cache = soak(model, byte_grammars, seed, 30)
        assert (cache.full.available, cache.sliding.available) == PAGES
        seen["resumed past the window"] += sum(
            one.tokens[0].cached_tokens > 128 for one in asked if one.tokens
        )
        for one in asked:
            alone = served_alone(model, one, byte_grammars)
            tokens = [token.token for token in one.tokens]
            assert one.request is not None
            assert tokens == (alone[: len(tokens)] if one.request.cancelled else alone)
    assert min(seen.values()) > 3, seen
