"""A turn's grammar in a request for tokens: our server keeps to it, and is told of it by its own engine."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masked import Masked
from random_turns import random_request
from scripted import Scripted
from served import served
from stub_server import serve, sse

from harmony import (
    Choices,
    JsonSchema,
    Lark,
    ReasoningEffort,
    Regex,
    ToolDescription,
    ToolNamespaceConfig,
    TurnGrammar,
    load_encoding,
)
from harmony.agent.grammars import turn_constraint
from harmony.errors import RequestError
from harmony.runtime.constraint import Constraint
from harmony.runtime.engine import Engine
from harmony.runtime.generation import ConstrainedEngine, GeneratedToken, SamplingParams
from harmony.runtime.models import TINY
from harmony.runtime.remote import RemoteEngine
from harmony.server.store import Bounded
from harmony.server.turns import turn_kept

ENCODING = load_encoding()
STOP = ENCODING.stop_tokens_for_assistant_actions()
PROMPT = ENCODING.encode("<|start|>user<|message|>Hi<|end|><|start|>assistant", allowed_special="all")
SIZE = 201_088
ORDER = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}},
    "required": ["item", "quantity"],
    "additionalProperties": False,
}
TOOLS = [ToolDescription.new("f", "", ORDER), ToolDescription.new("g", "")]
BUILTINS = [ToolNamespaceConfig.python(), ToolNamespaceConfig.browser()]
GRAMMARS = {
    "free": TurnGrammar.of(TOOLS, BUILTINS),
    "a call": TurnGrammar.of(TOOLS, BUILTINS, tool_choice="f", reasoning=ReasoningEffort.HIGH),
    "an answer": TurnGrammar.of(TOOLS, response=JsonSchema(ORDER), preambles=False),
    "a word": TurnGrammar.of(response=Choices(("yes", "no")), channels=("final",)),
    "a pattern": TurnGrammar.of(response=Regex("[a-f]{3}/[0-9]+")),
    "a move": TurnGrammar.of(response=Lark('start: "a".."h" /[1-8]/')),
}
FAMILIES = pytest.mark.parametrize("name", GRAMMARS)


class Counted(RemoteEngine):
    """A remote engine that keeps the bodies of its requests."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.bodies: list[Mapping[str, Any]] = []

    def _request(self, body: Mapping[str, Any], *others: Any) -> AsyncGenerator[GeneratedToken]:
        self.bodies.append(body)
        return super()._request(body, *others)


@pytest.fixture(scope="module")
def local() -> Engine:
    return Engine.load(TINY, device="cpu")


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """The URL of the bundled model."""
    with served(Engine.load(TINY, device="cpu")) as url:
        yield url


def run(
    engine: ConstrainedEngine, constraint: Constraint, sampling: SamplingParams, prompt: list[int] = PROMPT
) -> list[GeneratedToken]:
    async def collect() -> list[GeneratedToken]:
        tokens = engine.generate(prompt, sampling, stop=STOP, constraint=constraint)
        return [token async for token in tokens]

    return asyncio.run(collect())


@FAMILIES
@pytest.mark.parametrize("limit", [18, 60])
def test_it_samples_what_the_engine_samples(tiny: str, local: Engine, name: str, limit: int) -> None:
    """Under the same grammar, token for token, at temperature 2, up to a limit, in one request."""
    for seed in range(3):
        remote = Counted(tiny)
        sampling = SamplingParams(temperature=2, seed=seed, max_tokens=limit)
        theirs = run(remote, turn_constraint(GRAMMARS[name], SIZE), sampling)
        ours = run(local, turn_constraint(GRAMMARS[name], SIZE), sampling)
        assert [(t.token, t.finish_reason, t.closed) for t in theirs] == [
            (t.token, t.finish_reason, t.closed) for t in ours
        ]
        assert len(remote.bodies) == 1


def test_reasoning_is_cut_short_there(tiny: str, local: Engine) -> None:
    """The end that is forced after some tokens is the server's own, too."""
    remote = Counted(tiny)
    sampling = SamplingParams(temperature=2, seed=1, max_tokens=60)
    theirs = run(remote, turn_constraint(GRAMMARS["a call"], SIZE, reasoning_tokens=5), sampling)
    ours = run(local, turn_constraint(GRAMMARS["a call"], SIZE, reasoning_tokens=5), sampling)
    assert [t.token for t in theirs] == [t.token for t in ours]
    assert len(remote.bodies) == 1


def test_logprobs_of_what_was_sampled(tiny: str) -> None:
    """What was forced has none."""
    sampling = SamplingParams(temperature=0, logprobs=2, max_tokens=60)
    tokens = run(Counted(tiny), turn_constraint(GRAMMARS["an answer"], SIZE), sampling)
    assert {t.logprob is None for t in tokens} == {True, False}
    assert all(len(t.top_logprobs) == (0 if t.logprob is None else 2) for t in tokens)


def test_a_turn_goes_on(tiny: str) -> None:
    """From tokens that were written already."""
    constraint = turn_constraint(GRAMMARS["an answer"], SIZE)
    begun = ENCODING.encode('<|channel|>final<|message|>{"item": "a', allowed_special="all")
    constraint.accept(*begun)
    remote = Counted(tiny)
    tokens = run(remote, constraint, SamplingParams(temperature=2, seed=1, max_tokens=80))
    assert remote.bodies[0]["turn"]["written"] == len(begun)
    assert len(remote.bodies) == 1
    assert tokens[-1].finish_reason is not None


def test_an_end_that_was_brought_about(tiny: str) -> None:
    """It is one at the limit, for who reads the answer."""
    turn = turn_constraint(GRAMMARS["an answer"], SIZE).stated
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 20, "temperature": 2, "seed": 1, "turn": turn}
    answer = httpx.post(f"{tiny}/v1/completions", json=body, timeout=60, trust_env=False).json()
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["stop_reason"], choice["closed"]) == ("length", None, True)
    assert choice["text"].endswith("}<|return|>")


@given(st.integers(0, 2**32), st.sampled_from([*ReasoningEffort, None]), st.booleans())
def test_what_is_stated_is_read(seed: int, reasoning: ReasoningEffort | None, preambles: bool) -> None:
    """The server makes the same grammar of it."""
    request = random_request(Random(seed))
    grammar = TurnGrammar.of(
        request.functions,
        request.builtins,
        tool_choice=request.tool_choice,
        response=None if request.schema is None else JsonSchema(request.schema),
        reasoning=reasoning,
        preambles=preambles,
    )
    assert _read(grammar) == grammar


@FAMILIES
def test_every_format_is_read(name: str) -> None:
    """Those of the answer too."""
    assert _read(GRAMMARS[name]) == GRAMMARS[name]


def _read(grammar: TurnGrammar) -> TurnGrammar:
    grammars: Bounded[TurnGrammar] = Bounded(1)
    stated = turn_constraint(grammar, SIZE).stated
    assert stated is not None
    asyncio.run(turn_kept(Masked(), dict(stated), PROMPT, grammars))
    ((kept, _),) = grammars._held.values()
    return kept


DEEP: dict[str, Any] = {"type": "string"}
for _ in range(62):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("turn", "param", "says"),
    [
        ([], "turn", "object"),
        ({"tools": []}, "turn", "unexpected"),
        ({"functions": [{"name": 5}]}, "turn.functions.0.name", "string"),
        ({"functions": [{"name": "f"}] * 1025}, "turn.functions", "maxItems"),
        ({"functions": [{"name": "f"}] * 2}, "turn", "same name"),
        ({"functions": [{"name": "f", "parameters": {"type": 5}}]}, "turn", "cannot be kept"),
        ({"functions": [{"name": "f g"}]}, "turn", "cannot be called"),
        ({"tool_choice": "h"}, "turn", "no tool 'h'"),
        ({"channels": ["analysis"]}, "turn", "needs a tool"),
        ({"response": {"type": "regex"}}, "turn.response", "given schemas"),
        ({"response": {"type": "regex", "pattern": "("}}, "turn", "cannot be kept"),
        ({"response": {"type": "lark", "grammar": "start: <|end|>"}}, "turn", "special tokens"),
        ({"response": {"type": "json_schema", "schema": DEEP}}, None, "nested deeper"),
        ({"written": 1}, "turn.written", "no tokens of such a turn"),
        ({"written": 1000}, "turn.written", "more tokens than"),
    ],
)
def test_what_is_refused(turn: Any, param: str | None, says: str) -> None:
    """With the field, before anything is sampled."""
    with served(Masked()) as url:
        answer = httpx.post(
            f"{url}/v1/completions",
            json={"model": "scripted", "prompt": PROMPT, "turn": turn},
            trust_env=False,
        )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert says in error["message"]


def test_a_whole_turn_is_refused() -> None:
    """Nothing may follow it."""
    whole = ENCODING.encode("<|channel|>final<|message|>Hi<|return|>", allowed_special="all")
    stated = {"written": len(whole)}
    with pytest.raises(RequestError, match="whole turn"):
        asyncio.run(turn_kept(Masked(), stated, [*PROMPT, *whole], Bounded(1)))


def test_a_turn_and_a_bias_are_refused() -> None:
    """Both say what may come."""
    body = {"model": "scripted", "prompt": PROMPT, "max_tokens": 1, "turn": {}, "logit_bias": {"5": 100}}
    with served(Masked()) as url:
        answer = httpx.post(f"{url}/v1/completions", json=body, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logit_bias")


def test_an_engine_that_keeps_to_nothing() -> None:
    """Its server says so; who asks all the same is refused."""
    with served(Scripted("Hi")) as url:
        card = httpx.get(f"{url}/v1/models", trust_env=False).json()["data"][0]
        body = {"model": "scripted", "prompt": PROMPT, "turn": {}}
        answer = httpx.post(f"{url}/v1/completions", json=body, trust_env=False)
    assert card["keeps_turns"] is False
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "turn")


def test_an_older_server_is_told_nothing() -> None:
    """It does not say that it keeps turns; the answer is corrected from here."""
    said = ENCODING.encode("<|channel|>final<|message|>yes<|return|>", allowed_special="all")

    def answer(body: dict[str, Any]) -> Iterator[str]:
        assert "turn" not in body
        for token in said:
            yield sse({"choices": [{"index": 0, "text": "", "token_ids": [token]}]})

    card = {"id": "tiny", "owned_by": "gpt-oss-harmony", "max_model_len": 400}
    with serve({"/v1/models": (200, {"data": [card]}), "/v1/completions": answer}) as stub:
        remote = RemoteEngine(stub.url)
        tokens = run(remote, turn_constraint(GRAMMARS["a word"], SIZE), SamplingParams())
    assert [token.token for token in tokens] == said


def test_what_a_server_refuses_is_kept_from_here(tiny: str) -> None:
    """It is asked again without the turn, which may be too long or too deep for it."""
    deep = TurnGrammar.of(response=JsonSchema(DEEP), channels=("final",))
    remote = Counted(tiny)
    tokens = run(remote, turn_constraint(deep, SIZE), SamplingParams(max_tokens=60))
    assert ["turn" in body for body in remote.bodies[:2]] == [True, False]
    assert tokens[-1].finish_reason is not None
