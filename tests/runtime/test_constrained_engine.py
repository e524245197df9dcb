"""The engine under a grammar: only legal tokens, forced ones without the model, and typed errors."""

import asyncio
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony.errors import ConstraintError, EngineError, GrammarError
from harmony.runtime.constraint import Constraint
from harmony.runtime.engine import Engine
from harmony.runtime.generation import ConstrainedEngine, GeneratedToken, SamplingParams, TokenEngine
from harmony.runtime.grammars import Grammars
from harmony.runtime.model import Transformer
from harmony.runtime.models import load_engine
from harmony.runtime.scheduler import Scheduler
from harmony.runtime.token_table import TokenTable

PROMPT = [5, 17, 290, 3, 44]
BYTES = TokenTable(
    {bytes([octet]): octet for octet in range(256)},
    {"<|end|>": 256, "<|eot|>": 299},
    lambda text: [*text.encode()],
    300,
    299,
)
OBJECT = """start: %json {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]},
    "legs": {"type": "integer"}}, "required": ["kind", "legs"], "additionalProperties": false,
    "x-guidance": {"whitespace_flexible": false}} <|end|>"""

NUMBER = 'start: /[0-9]+/ "," <|end|>'


@pytest.fixture
def engine(model: Transformer) -> Engine:
    return Engine(model, name="toy", context_length=2000, default_sampling=SamplingParams())


@pytest.fixture(scope="module")
def bytes_grammars() -> Grammars:
    return Grammars(BYTES)


def run(
    engine: Engine,
    constraint: Constraint | None,
    sampling: SamplingParams,
    stop: Collection[int] = (256,),
    prompt: list[int] = PROMPT,
) -> list[GeneratedToken]:
    async def collect() -> list[GeneratedToken]:
        generation = engine.generate(prompt, sampling, stop=stop, constraint=constraint)
        return [token async for token in generation]

    return asyncio.run(collect())


def text(tokens: list[GeneratedToken]) -> str:
    return bytes(token.token for token in tokens if token.token < 256).decode()


def test_a_random_model_writes_what_the_grammar_wants(engine: Engine, bytes_grammars: Grammars) -> None:
    """At high temperature a model that knows nothing gives valid objects only, ended by the right token."""
    kinds = set()
    for seed in range(12):
        tokens = run(engine, Constraint(bytes_grammars, OBJECT), SamplingParams(temperature=3, seed=seed))
        value = json.loads(text(tokens))
        assert list(value) == ["kind", "legs"]
        assert isinstance(value["legs"], int)
        assert (tokens[-1].token, tokens[-1].finish_reason) == (256, "stop")
        kinds.add(value["kind"])
    assert kinds == {"cat", "dog"}


def test_forced_tokens_need_no_step(
    engine: Engine, model: Transformer, bytes_grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is asked only where there is a choice; all tokens in between it reads at once."""
    read: list[int] = []
    step = Transformer.__call__

    def counted(self: Transformer, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        read.append(len(tokens))
        return step(self, tokens, *args, **kwargs)

    monkeypatch.setattr(Transformer, "__call__", counted)
    tokens = run(engine, Constraint(bytes_grammars, OBJECT), SamplingParams(seed=1))
    assert len(read) < len(tokens) / 2
    assert sum(read) < len(PROMPT) + len(tokens)
    assert read[0] == len(PROMPT) + len('{"kind":"')


def test_forced_tokens_do_not_change_what_follows(
    engine: Engine, model: Transformer, bytes_grammars: Grammars
) -> None:
    """Each sampled token is the masked argmax of the model over everything before it."""
    constraint, checked = (Constraint(bytes_grammars, OBJECT) for _ in range(2))
    before = list(PROMPT)
    for token in run(engine, constraint, SamplingParams(temperature=0)):
        if not checked.forced():
            logits = model(torch.tensor(before), model.new_cache(2000))
            allowed = [t for t in range(300) if checked.allowed([t])]
            assert token.token == max(allowed, key=lambda t: float(logits[t]))
        checked.accept(token.token)
        before.append(token.token)


def test_the_next_prompt_goes_on_from_forced_tokens(engine: Engine, bytes_grammars: Grammars) -> None:
    """What was forced but never read is read with the next prompt."""
    first = [token.token for token in run(engine, Constraint(bytes_grammars, OBJECT), SamplingParams(seed=2))]
    longer = [*PROMPT, *first, 7]
    greedy = SamplingParams(temperature=0, max_tokens=5)
    again = run(engine, None, greedy, (), longer)
    assert 0 < again[0].cached_tokens < len(longer)
    assert [t.token for t in again] == [t.token for t in run(engine, None, greedy, (), [*longer])]


def test_logprobs_are_those_of_the_model(engine: Engine, bytes_grammars: Grammars) -> None:
    """They come from before the mask; a forced token has none."""
    sampling = SamplingParams(temperature=0, logprobs=300)
    tokens = run(engine, Constraint(bytes_grammars, OBJECT), sampling)
    assert {token.logprob is None for token in tokens} == {True, False}
    assert tokens[0].logprob is None
    sampled = next(token for token in tokens if token.logprob is not None)
    assert sum(math.exp(candidate.logprob) for candidate in sampled.top_logprobs) == pytest.approx(1)


def test_the_end_of_the_grammar_is_a_stop(engine: Engine, bytes_grammars: Grammars) -> None:
    """Without stop tokens the generation ends where the grammar does."""
    tokens = run(engine, Constraint(bytes_grammars, 'start: "ab" | "cd"'), SamplingParams(seed=0), ())
    assert text(tokens) in ("ab", "cd")
    assert tokens[-1].finish_reason == "stop"


def test_limits_cut_forced_tokens_too(engine: Engine, bytes_grammars: Grammars) -> None:
    """max_tokens holds for tokens that nobody samples."""
    tokens = run(engine, Constraint(bytes_grammars, 'start: "abcdefgh"'), SamplingParams(max_tokens=3))
    assert (text(tokens), tokens[-1].finish_reason) == ("abc", "length")


def test_a_grammar_that_cannot_be_enforced_is_a_typed_error(engine: Engine, bytes_grammars: Grammars) -> None:
    """It comes before the first token, and the engine serves the next prompt."""
    with pytest.raises(GrammarError):
        run(engine, Constraint(bytes_grammars, "start: nothing"), SamplingParams())
    assert run(engine, None, SamplingParams(max_tokens=1))


def test_a_constraint_that_fails_ends_the_generation(engine: Engine, bytes_grammars: Grammars) -> None:
    """One that is in error, here after an illegal token, gives no token at all."""
    constraint = Constraint(bytes_grammars, OBJECT)
    with pytest.raises(ConstraintError):
        constraint.accept(17)
    with pytest.raises(ConstraintError):
        run(engine, constraint, SamplingParams())


def test_another_vocabulary_is_refused(engine: Engine, grammars: Grammars) -> None:
    """Masks of another size would be masks of other tokens."""
    with pytest.raises(EngineError, match="201088 ids and this model has 300"):
        run(engine, Constraint(grammars, 'start: "a"'), SamplingParams())


def test_the_engine_says_that_it_can(engine: Engine) -> None:
    """Its type tells it apart from engines that cannot keep to a grammar."""
    assert isinstance(engine, ConstrainedEngine)
    can: TokenEngine = engine
    assert can.name == "toy"


def test_every_limit_from_the_shortest_object_on_ends_whole(engine: Engine, bytes_grammars: Grammars) -> None:
    """Cut nowhere in the middle: the object is valid at every limit, and the last token says how it ended."""
    shortest = len('{"kind":"cat","legs":0}') + 1
    for limit in range(shortest, shortest + 14):
        sampling = SamplingParams(temperature=3, seed=limit, max_tokens=limit)
        tokens = run(engine, Constraint(bytes_grammars, OBJECT), sampling)
        assert json.loads(text(tokens))["kind"] in ("cat", "dog")
        assert tokens[-1].token == 256
        assert len(tokens) <= limit
        assert (tokens[-1].finish_reason, tokens[-1].closed) in (("stop", False), ("length", True))
        assert all(not token.closed and token.finish_reason is None for token in tokens[:-1])


def test_a_limit_below_the_shortest_end_cuts(engine: Engine, bytes_grammars: Grammars) -> None:
    """There the result says that it is not whole."""
    tokens = run(engine, Constraint(bytes_grammars, OBJECT), SamplingParams(temperature=3, max_tokens=12))
    assert (len(tokens), tokens[-1].finish_reason, tokens[-1].closed) == (12, "length", False)


def test_the_context_closes_as_a_limit_does(model: Transformer, bytes_grammars: Grammars) -> None:
    """The end of the context is a limit too."""
    small = Engine(
        model, name="toy", context_length=len(PROMPT) + 30, default_sampling=SamplingParams(temperature=3)
    )
    constraint = Constraint(bytes_grammars, 'start: %json {"type": "string", "minLength": 20} <|end|>')
    tokens = run(small, constraint, SamplingParams(temperature=3, seed=5))
    assert (tokens[-1].finish_reason, tokens[-1].closed) == ("length", True)
    assert 20 <= len(json.loads(text(tokens))) <= 27


def test_where_the_grammar_may_end_it_ends(engine: Engine, bytes_grammars: Grammars) -> None:
    """A grammar that could go on is closed by the end of text, or by the limit itself."""
    for limit in range(1, 8):
        constraint = Constraint(bytes_grammars, 'start: ("ab" | "cd")*')
        tokens = run(engine, constraint, SamplingParams(temperature=3, seed=1, max_tokens=limit), ())
        assert len(text(tokens)) % 2 == 0
        assert tokens[-1].closed or tokens[-1].finish_reason == "stop"


class NoDogs:
    """A watch that objects to dogs, once their first letter is there."""

    def after(self, token: int) -> "NoDogs | None":
        return None if token == ord("d") else self


def test_what_is_objected_to_is_sampled_again(engine: Engine, bytes_grammars: Grammars) -> None:
    """Only cats are left, however likely the model finds dogs."""
    grammar = 'start: ("cat" | "dog"){3} <|end|>'
    for seed in range(8):
        constraint = Constraint(bytes_grammars, grammar, watch=NoDogs())
        tokens = run(engine, constraint, SamplingParams(temperature=3, seed=seed))
        assert text(tokens) == "catcatcat"


def test_where_nothing_is_left_the_generation_fails(engine: Engine, bytes_grammars: Grammars) -> None:
    """With an error, not with what was objected to."""
    with pytest.raises(ConstraintError, match="nothing may follow"):
        run(engine, Constraint(bytes_grammars, 'start: "dog" <|end|>', watch=NoDogs()), SamplingParams())


@dataclass
class HeldBack:
    """Grammars whose compiler is busy until it is let go, and how many tokens a model has read meanwhile."""

    grammars: Grammars
    let_go: Event
    read: list[int]

    async def has_read(self, count: int) -> None:
        """Wait until the model has read so many tokens."""
        async with asyncio.timeout(60):
            while sum(self.read) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldBack]:
    step, let_go = Transformer.__call__, Event()
    held = HeldBack(Grammars(BYTES), let_go, [])

    def counted(self: Transformer, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        held.read.append(len(tokens))
        return step(self, tokens, *args, **kwargs)

    def late(grammars: Grammars, text: str, compile_: Any = Grammars._compile) -> Any:
        assert grammars is not held.grammars or let_go.wait(60)
        return compile_(grammars, text)

    monkeypatch.setattr(Transformer, "__call__", counted)
    monkeypatch.setattr(Grammars, "_compile", late)
    yield held
    let_go.set()


LONG = [number % 256 for number in range(1200)]


def test_the_prompt_is_read_while_the_grammar_is_compiled(
    engine: Engine, model: Transformer, bytes_grammars: Grammars, held_back: HeldBack
) -> None:
    """All of it but its last token, then nothing until there are masks; the tokens are the same as ever."""
    sampling = SamplingParams(seed=3)

    async def collect() -> list[GeneratedToken]:
        constraint = Constraint(held_back.grammars, OBJECT)
        generation = engine.generate(LONG, sampling, stop=(256,), constraint=constraint)
        first = asyncio.create_task(anext(generation))
        await held_back.has_read(len(LONG) - 1)
        free = [token async for token in engine.generate(PROMPT, SamplingParams(max_tokens=4), stop=())]
        assert len(free) == 4
        assert sum(held_back.read) <= len(LONG) - 1 + len(PROMPT) + 4
        assert not first.done()
        held_back.let_go.set()
        return [await first, *[token async for token in generation]]

    late = [token.token for token in asyncio.run(collect())]
    fresh = Engine(model, name="toy", context_length=2000, default_sampling=SamplingParams())
    ready = Constraint(bytes_grammars, OBJECT).ready()
    assert late == [token.token for token in run(fresh, ready, sampling, prompt=LONG)]


def test_a_waiting_generation_costs_no_steps(
    engine: Engine, held_back: HeldBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of one token leaves nothing to read before the grammar is there, and nothing is tried."""
    steps: list[None] = []
    step = Scheduler.step
    monkeypatch.setattr(Scheduler, "step", lambda scheduler: steps.append(None) or step(scheduler))

    async def first() -> GeneratedToken:
        generation = engine.generate(
            [7], SamplingParams(), stop=(256,), constraint=Constraint(held_back.grammars, OBJECT)
        )
        waiting = asyncio.create_task(anext(generation))
        await asyncio.sleep(0.05)
        assert (steps, waiting.done()) == ([], False)
        held_back.let_go.set()
        token = await waiting
        await generation.aclose()
        return token

    assert chr(asyncio.run(first()).token) == "{"


def test_a_grammar_that_is_refused_after_the_prompt_was_read(engine: Engine, held_back: HeldBack) -> None:
    """The error is the same typed one, and what was read serves the next request."""

    async def refuse() -> list[GeneratedToken]:
        generation = engine.generate(
            LONG, SamplingParams(), stop=(), constraint=Constraint(held_back.grammars, "start: nothing")
        )
        first = asyncio.create_task(anext(generation))
        await held_back.has_read(len(LONG) - 1)
        held_back.let_go.set()
        with pytest.raises(GrammarError):
            await first
        return [token async for token in engine.generate(LONG, SamplingParams(max_tokens=1), stop=())]

    assert asyncio.run(refuse())[0].cached_tokens > len(LONG) / 2


def test_a_generation_is_cancelled_while_it_waits_for_its_grammar(
    engine: Engine, held_back: HeldBack
) -> None:
    """The engine serves the next one at once, and can be closed though the compiler is still busy."""

    async def cancel() -> list[GeneratedToken]:
        generation = engine.generate(
            LONG, SamplingParams(), stop=(), constraint=Constraint(held_back.grammars, OBJECT)
        )
        first = asyncio.create_task(anext(generation))
        await held_back.has_read(len(LONG) - 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        tokens = [token async for token in engine.generate(PROMPT, SamplingParams(max_tokens=2), stop=())]
        await engine.aclose()
        assert not held_back.let_go.is_set()
        held_back.let_go.set()
        return tokens

    assert len(asyncio.run(cancel())) == 2


@dataclass(frozen=True)
class _Long:
    """Objects to the end of a number of less than 25 digits."""

    tokens: Sequence[bytes]
    digits: int = 0

    def after(self, token: int) -> "_Long | None":
        text = self.tokens[token] if token < len(self.tokens) else b""
        if text == b",":
            return self if self.digits >= 25 else None
        return _Long(self.tokens, self.digits + len(text))


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_guard_gives_way_to_a_watch(grammars: Grammars, temperature: float) -> None:
    """Where the guard leaves only what the watch refuses, what the guard took away may come after all."""
    constraint = Constraint(grammars, NUMBER, watch=_Long(grammars.table.tokens))
    sampling = SamplingParams(temperature=temperature, seed=0, max_tokens=60)
    *digits, comma, end = run(load_engine("tiny"), constraint, sampling, stop=(200_007,))
    assert all(grammars.table.tokens[token.token].isdigit() for token in digits)
    assert sum(len(grammars.table.tokens[token.token]) for token in digits) >= 25
    assert (grammars.table.tokens[comma.token], end.finish_reason) == (b",", "stop")


def test_a_token_out_of_the_mask_is_an_error(bytes_grammars: Grammars) -> None:
    """With a watch too, which refuses only what the grammar allows, and each token once."""
    constraint = Constraint(bytes_grammars, NUMBER, watch=_Long(BYTES.tokens))
    constraint.accept(ord("1"))
    assert not constraint.take(ord(","))
    for token in (ord(","), ord("a")):
        with pytest.raises(ConstraintError):
            constraint.copy().take(token)
