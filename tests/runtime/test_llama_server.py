"""RemoteEngine on a real server of llama.cpp, with the bundled model."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import httpx
import pytest
from gbnf_reader import Gbnf
from gguf_file import convert
from llama_server import llama_server
from pydantic import BaseModel

from harmony import Message, Role, SystemContent, ToolDescription, Transcript, TurnGrammar, load_encoding
from harmony.agent import Agent, Limits
from harmony.agent.grammars import turn_constraint
from harmony.errors import ContextLengthError, EngineError
from harmony.runtime.engine import Engine
from harmony.runtime.gbnf import gbnf
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine
from harmony.runtime.models import TINY
from harmony.runtime.remote import RemoteEngine
from harmony.runtime.token_table import unpacked
from harmony.tools.functions import function

ENCODING = load_encoding()
STOP = ENCODING.stop_tokens_for_assistant_actions()
ENDS = frozenset((199_999, 200_002, 200_012))
KEY, CONTEXT = "secret", 1024
GREEDY = SamplingParams(temperature=0, max_tokens=120, logprobs=2)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    convert(TINY, file)
    with llama_server(file, key=KEY, slots=2, context=CONTEXT) as url:
        yield url


@pytest.fixture(scope="module")
def remote(url: str) -> RemoteEngine:
    return RemoteEngine(url, api_key=KEY)


@pytest.fixture(scope="module")
def local() -> Engine:
    return Engine.load(TINY, device="cpu")


def prompt(text: str) -> list[int]:
    transcript = Transcript(ENCODING)
    transcript.append(Message.from_role_and_content(Role.SYSTEM, SystemContent.new()))
    transcript.append(Message.from_role_and_content(Role.USER, text))
    return transcript.prompt


def run(
    engine: TokenEngine, text: str | Sequence[int], sampling: SamplingParams, stop: Sequence[int] = STOP
) -> list[GeneratedToken]:
    async def collect() -> list[GeneratedToken]:
        given = prompt(text) if isinstance(text, str) else text
        return [token async for token in engine.generate(given, sampling, stop=stop)]

    return asyncio.run(collect())


def test_what_it_is(remote: RemoteEngine) -> None:
    """Its model, and the context that one slot holds."""
    assert (remote.name, remote.context_length) == ("tiny.gguf", CONTEXT)


@pytest.mark.parametrize("text", ["Hello!", "Who are you?", "What is 12 * 7?", "Ich heiße Zoë, 日本語 🦙?"])
def test_it_samples_what_our_engine_samples(remote: RemoteEngine, local: Engine, text: str) -> None:
    """Greedily, token for token, with the same probabilities and reasons."""
    theirs, ours = run(remote, text, GREEDY), run(local, text, GREEDY)
    assert [t.token for t in theirs] == [t.token for t in ours]
    assert [t.finish_reason for t in theirs] == [t.finish_reason for t in ours]
    assert [t.logprob for t in theirs] == pytest.approx([t.logprob for t in ours], abs=1e-3)
    assert [t.top_logprobs[0].token for t in theirs] == [t.top_logprobs[0].token for t in ours]
    assert {len(t.top_logprobs) for t in theirs} == {2}


def test_a_prompt_is_cached(remote: RemoteEngine) -> None:
    """The second time nearly all of it is known."""
    run(remote, "Hello!", GREEDY)
    assert run(remote, "Hello!", GREEDY)[-1].cached_tokens > 40


def test_a_seed_is_heeded(remote: RemoteEngine) -> None:
    """The same one draws the same tokens, another one others."""
    draws = [
        [t.token for t in run(remote, "Hello!", SamplingParams(temperature=3, seed=seed, max_tokens=30))]
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("seed", range(8))
def test_no_token_is_lost(remote: RemoteEngine, seed: int) -> None:
    """However wildly it samples, with tokens that are parts of characters, as many come as were asked for."""
    tokens = run(remote, "Hello!", SamplingParams(temperature=8, seed=seed, max_tokens=150), stop=[])
    assert len(tokens) == 150
    assert [t.finish_reason for t in tokens] == [None] * 149 + ["length"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
def test_a_limit_inside_a_character(remote: RemoteEngine, limit: int) -> None:
    """Tokens that no text can express are tokens all the same."""
    half = ENCODING.encode("🦙")[0]

    async def collect() -> list[int]:
        sampling = SamplingParams(temperature=0, max_tokens=limit)
        stream = remote._stream(prompt("Hello!"), sampling, STOP, {half: 1000.0})
        return [token.token async for token in stream]

    assert ENCODING.decode([half]) == "\ufffd"
    assert asyncio.run(collect()) == [half] * limit


def test_it_goes_on_after_an_end_token_of_its_own(remote: RemoteEngine, local: Engine) -> None:
    """Where the caller does not stop at one."""
    sampling = SamplingParams(temperature=0, max_tokens=60)
    theirs, ours = run(remote, "Hello!", sampling, stop=[]), run(local, "Hello!", sampling, stop=[])
    assert [t.token for t in theirs] == [t.token for t in ours]
    assert len(theirs) == 60


def test_the_end_of_the_context(remote: RemoteEngine) -> None:
    """A generation fills it, and one token more is refused here."""
    given = (prompt("Hello!") * 50)[: CONTEXT - 10]
    tokens = run(remote, given, SamplingParams(temperature=8, seed=1), stop=[])
    assert (len(tokens), tokens[-1].finish_reason) == (10, "length")
    with pytest.raises(ContextLengthError):
        run(remote, (given * 2)[:CONTEXT], GREEDY)


def test_leaving_stops_it(url: str, remote: RemoteEngine) -> None:
    """The slot of a generation that is closed is idle soon."""

    async def leave() -> None:
        stream = remote.generate(prompt("Hello!"), SamplingParams(temperature=8), stop=[])
        await anext(stream)
        await stream.aclose()
        async with (
            asyncio.timeout(20),
            httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client,
        ):
            while any(slot["is_processing"] for slot in (await client.get(f"{url}/slots")).json()):
                await asyncio.sleep(0.01)

    asyncio.run(leave())


def test_without_the_key(url: str) -> None:
    """It is told what is missing."""
    with pytest.raises(EngineError, match="api_key"):
        RemoteEngine(url)


@function
def get_weather(city: str, unit: str = "c") -> dict[str, int | str]:
    """The weather in a city."""
    return {"temperature": 21, "sky": "sunny"}


def test_an_agent_has_the_same_conversation(remote: RemoteEngine, local: Engine) -> None:
    """With a call and its answer, over two questions, token for token; the second turn is mostly cached."""

    async def talk(engine: TokenEngine) -> tuple[list[int], int]:
        agent = Agent(engine, tools=[get_weather], sampling=SamplingParams(temperature=0))
        first = await agent.run("What's the weather in Paris?")
        second = await agent.run("What's the weather in Rome?", transcript=first.transcript)
        return second.transcript.tokens, second.usage.cached_tokens

    (theirs, cached), (ours, _) = asyncio.run(talk(remote)), asyncio.run(talk(local))
    assert theirs == ours
    assert "21" in ENCODING.decode(theirs)
    assert cached > 300


def test_agents_at_once(remote: RemoteEngine) -> None:
    """More than it has slots for; all answer."""

    async def ask() -> list[str]:
        agents = [
            Agent(remote, tools=[get_weather], sampling=SamplingParams(temperature=0)) for _ in range(12)
        ]
        results = await asyncio.gather(*(agent.run("What's the weather in Paris?") for agent in agents))
        return [result.text for result in results]

    assert all("21" in text for text in asyncio.run(ask()))


class Order(BaseModel):
    item: str
    quantity: int


def test_a_typed_answer(remote: RemoteEngine) -> None:
    """A schema is kept, by reading along, logit_bias and a grammar of the server's own."""
    agent = Agent(remote, sampling=SamplingParams(temperature=1, seed=3))
    assert isinstance(agent.run_sync("I ordered 12 apples for 3.5.", output_type=Order).output, Order)


class Counted(RemoteEngine):
    """A remote engine that counts its requests, and those that tell of a grammar."""

    requests, grammars = 0, 0

    def _request(self, body: Mapping[str, Any], *others: Any) -> AsyncGenerator[GeneratedToken]:
        self.requests += 1
        self.grammars += "grammar" in body
        return super()._request(body, *others)


def turns(engine: RemoteEngine, seeds: range) -> None:
    """Some turns at temperature 2, each of which must be whole."""
    limits = Limits(tokens=60, turns=1)
    for seed in seeds:
        sampling = SamplingParams(temperature=2, seed=seed)
        agent = Agent(engine, tools=[get_weather], sampling=sampling, limits=limits)
        result = agent.run_sync("Hello!", tool_choice="get_weather")
        assert any(message.recipient == "functions.get_weather" for message in result.messages)


def test_a_turn_takes_few_requests(url: str) -> None:
    """The server is told what may come, from wherever a turn has come to."""
    told, untold = Counted(url, api_key=KEY), Counted(url, api_key=KEY)
    untold._dialect = replace(untold._dialect, takes_grammars=False)  # type: ignore[type-var]
    turns(told, range(4))
    turns(untold, range(4))
    assert told.grammars > 0
    assert untold.grammars == 0
    assert 3 * told.requests < untold.requests


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city"],
}
WRITTEN = (
    "",
    "<|channel|>",
    "<|channel|>analysis<|message|>Hm, ",
    "<|channel|>commentary to=functions.f",
    '<|channel|>commentary to=functions.f<|message|>{"city": "Ro',
    '<|channel|>commentary to=functions.f<|message|>{"city":"Rome","days":1',
    '<|channel|>commentary to=functions.f<|message|>{"city":"Rome"}',
    "<|channel|>final<|message|>Hi",
)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_grammar_is_read_as_it_is_meant(url: str, written: str) -> None:
    """Of tokens that are to come at any rate, it lets come those that it should, of whatever bytes."""
    random, grammar = Random(len(written)), TurnGrammar.of([ToolDescription.new("f", "", SCHEMA)])
    constraint = turn_constraint(grammar, 201_088)
    constraint.accept(*ENCODING.encode(written, allowed_special="all"))
    text = gbnf(constraint, ENDS)
    assert text is not None
    legal = unpacked(constraint.mask()).tolist()
    cut = [token for token in legal if "\ufffd" in ENCODING.decode([token])]
    tokens = [*random.sample(legal, min(12, len(legal))), *random.sample(cut, min(6, len(cut)))]
    tokens += [*random.sample(range(199_998), 6), *range(199_998, 200_013)]
    body: dict[str, Any] = {"prompt": prompt("Hello!"), "n_predict": 1, "temperature": 0, "grammar": text}
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        for token in tokens:
            asked = body | {"logit_bias": [[token, 1000.0]], "return_tokens": True}
            (came,) = client.post("/completion", json=asked).raise_for_status().json()["tokens"]
            assert (came == token) == Gbnf(text, ENCODING.token_bytes, ENDS).accepts(token), token
            assert came == token or token not in legal or ENCODING.token_bytes[token][0] == 0


@pytest.mark.parametrize("bad", ["root ::= nothing", "root ::= (", "start: x", "root ::= <|none|>"])
def test_a_grammar_that_is_refused(url: str, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """The server lives on, and is asked without it."""
    monkeypatch.setattr("harmony.runtime.gbnf.gbnf", lambda *_: bad)
    engine = Counted(url, api_key=KEY)
    agent = Agent(engine, sampling=SamplingParams(temperature=1, seed=3))
    assert isinstance(agent.run_sync("I ordered 12 apples for 3.5.", output_type=Order).output, Order)
    assert engine.requests > engine.grammars > 0
