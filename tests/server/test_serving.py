"""What must hold whatever a model samples, and what is kept and forgotten."""

import asyncio
import json
from typing import Any

import httpx
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from scripted import Scripted
from served import Calculator, served

from harmony import Message, Role, Transcript, load_encoding
from harmony.agent import Agent
from harmony.agent import Limits as RunLimits
from harmony.runtime import load_engine
from harmony.server import Limits, create_app
from harmony.server.requests import Api
from harmony.server.serving import Serving
from harmony.server.store import Bounded, State, States

ENCODING = load_encoding()
EVENTS: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)
TOOL = {"type": "function", "name": "double", "parameters": {"type": "object"}}
RESPONSES = {"model": "scripted", "input": "Hi", "tools": [TOOL], "stream": True}
CHAT = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "Hi"}],
    "tools": [{"type": "function", "function": {"name": "double"}}],
}


def events(api: Api, body: dict[str, Any], tokens: list[int]) -> list[dict[str, Any]]:
    """The events of a stream for a model that samples these tokens, and again after each call."""
    engine = Scripted(*[""] * 3)
    engine._turns = [tokens] * 3
    serving = Serving(engine, (), Limits(turns=3))

    async def collect() -> bytes:
        answering = await serving.answer(api, body | {"max_completion_tokens": 3 * len(tokens)})
        return b"".join([chunk async for chunk in answering.stream()])

    lines = asyncio.run(collect()).decode().splitlines()
    found = (line.removeprefix("data: ") for line in lines if line.startswith("data: {"))
    return [json.loads(line) for line in found]


sampled = st.lists(
    st.one_of(
        st.integers(0, 201_087),
        st.sampled_from([200002, 200003, 200005, 200006, 200007, 200008, 200012]),
        st.sampled_from(["analysis", "commentary", "final", " to=functions.double", " to=python", "{}"]),
    ),
    min_size=1,
    max_size=30,
).map(
    lambda parts: [t for part in parts for t in ([part] if isinstance(part, int) else ENCODING.encode(part))]
)


@settings(max_examples=100)
@given(sampled)
def test_no_sampled_tokens_break_a_stream(tokens: list[int]) -> None:
    """Every event is of the client's types, in order, and the deltas of each text make it up."""
    *before, last = [EVENTS.validate_python(event) for event in events("responses", RESPONSES, tokens)]
    assert last.type in ("response.completed", "response.incomplete")
    assert [event.sequence_number for event in (*before, last)] == list(range(len(before) + 1))
    for index, item in enumerate(last.response.output):
        mine = [event for event in before if getattr(event, "output_index", None) == index]
        assert (mine[0].type, mine[-1].type) == ("response.output_item.added", "response.output_item.done")
        text = item.arguments if item.type == "function_call" else item.content[0].text
        assert "".join(event.delta for event in mine if event.type.endswith(".delta")) == text


@settings(max_examples=50)
@given(sampled)
def test_no_sampled_tokens_break_a_chat(tokens: list[int]) -> None:
    """The last chunk says why it ended, and no chunk is an error."""
    chunks = events("chat", CHAT, tokens)
    assert not any("error" in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls")


def test_what_was_used_last_is_kept() -> None:
    """The weights count together, and reading is using."""
    kept: Bounded[str] = Bounded(10)
    for key in "ab":
        kept.put(key, key.upper(), 5)
    assert kept.get("a") == "A"
    kept.put("c", "C", 5)
    assert [kept.get(key) for key in "abc"] == ["A", None, "C"]
    kept.put("d", "D", 11)
    assert [kept.get(key) for key in "acd"] == [None, None, None]


def test_reasoning_that_a_client_adds_is_not_lost() -> None:
    """Only what stands before the end of the kept conversation comes from the transcript."""
    user = Message.from_role_and_content(Role.USER, "Hi")
    thought = Message.from_role_and_content(Role.ASSISTANT, "Hm.").with_channel("analysis")
    states = States(1000)
    transcript = Transcript(ENCODING)
    transcript.append(user)
    states.put([user], State(transcript))
    assert states.resume([user, thought]).transcript.messages == [user, thought]


def test_a_slow_reader_holds_up_no_other() -> None:
    """What it does not take waits in the engine; it gets all of it when it reads on."""
    app = create_app(load_engine("tiny", device="cpu"))
    body = json.dumps({"model": "tiny", "input": "Hello", "stream": True, "temperature": 0}).encode()
    headers = [(b"content-type", b"application/json")]
    scope: Any = {"type": "http", "method": "POST", "path": "/v1/responses", "headers": headers}

    async def events(reads_on: asyncio.Event) -> list[str]:
        read, left = bytearray(), asyncio.Event()

        async def receive() -> Any:
            if not read:
                read.extend(b"\n")
                return {"type": "http.request", "body": body}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            read.extend(message.get("body", b""))
            if b"output_text.delta" in read:
                await reads_on.wait()

        await app({**scope, "query_string": b""}, receive, send)
        return [line[7:] for line in read.decode().splitlines() if line.startswith("event: ")]

    async def both() -> tuple[list[str], list[str]]:
        reads_on, always = asyncio.Event(), asyncio.Event()
        always.set()
        slow = asyncio.create_task(events(reads_on))
        other = await events(always)
        assert not slow.done()
        reads_on.set()
        return await slow, other

    slow, other = asyncio.run(both())
    assert slow[-1] == other[-1] == "response.completed"


class Flooding(Calculator):
    """A python tool that says much."""

    async def call(self, function: str | None, arguments: str) -> str:
        return " ".join(map(str, range(10_000)))


@pytest.mark.parametrize("most", [100, 16_384])
def test_what_a_tool_says_is_cut_as_the_agent_cuts_it(most: int) -> None:
    """To the same limit, or a quarter of the context, and with the same words."""
    call = "<|channel|>analysis to=python code<|message|>1<|call|>"
    turns = call, "<|channel|>final<|message|>So.<|return|>"
    here, there = (Scripted(*turns, context_length=8000) for _ in range(2))
    Agent(here, tools=[Flooding()], limits=RunLimits(tool_output_tokens=most)).run_sync("?")
    with served(there, tools=[Flooding()], limits=Limits(tool_output_tokens=most)) as url:
        body = {"model": "scripted", "input": "?"}
        response = httpx.post(f"{url}/v1/responses", json=body, timeout=60).json()
    said = response["output"][0]["outputs"][0]["logs"]
    prompts = [load_encoding().decode(engine.prompts[1]) for engine in (here, there)]
    told, also_told = (prompt.partition("<|start|>python")[2] for prompt in prompts)
    assert told == also_told
    assert f"<|message|>{said}<|end|>" in told
    assert "tokens left out" in said
    assert len(load_encoding().encode(said)) <= min(most, 2000)
