"""Runs whose events nobody reads: they make none of their tokens, and end as others do."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any

import pytest
from scripted import Scripted

from harmony.agent import Agent, Event, Finding, Hooks, ReasoningDelta, Run, TextDelta
from harmony.errors import EngineError
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.tools.functions import function

CALL = (
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
)
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"
KINDS: tuple[type[ReasoningDelta], type[TextDelta]] = (ReasoningDelta, TextDelta)


@function
async def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def agent(*turns: str, **options: Any) -> Agent:
    return Agent(Scripted(*turns), tools=[double], **options)


def test_a_run_ends_as_one_that_is_read() -> None:
    async def streamed() -> Run[str]:
        stream = agent(CALL, FINAL).stream("Twice 21?")
        async for _ in stream:
            pass
        return stream

    read, unread = asyncio.run(streamed()).result, agent(CALL, FINAL).run_sync("Twice 21?")
    assert unread.transcript.tokens == read.transcript.tokens
    assert (unread.text, unread.usage, unread.turns) == (read.text, read.usage, read.turns)


def test_tokens_make_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what takes most of their time."""

    def told(**_: str) -> None:
        raise AssertionError("an event that nobody reads")

    monkeypatch.setattr("harmony.agent.completion.ReasoningDelta", told)
    monkeypatch.setattr("harmony.agent.completion.TextDelta", told)
    assert agent(CALL, FINAL).run_sync("Twice 21?").text == "It is 42."
    with pytest.raises(AssertionError, match="nobody reads"):
        agent(CALL, FINAL, monitor=Monitor).run_sync("Twice 21?")


def test_an_agent_as_a_tool_makes_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller reads the answer alone."""

    def told(**_: str) -> None:
        raise AssertionError("an event that nobody reads")

    tool = agent(CALL, FINAL).as_tool("sums", "Adds.")
    monkeypatch.setattr("harmony.agent.completion.ReasoningDelta", told)
    assert asyncio.run(tool.call('{"task": "Twice 21?"}')) == "It is 42."


class Monitor:
    """Finds all reasoning."""

    def read(self, delta: str) -> Finding | None:
        return Finding(delta)


def test_a_monitor_reads_all_the_same() -> None:
    found = agent(CALL, FINAL, monitor=Monitor).run_sync("Twice 21?").findings
    assert "".join(finding.reason for finding in found) == "Hm."


class Listening(Hooks):
    """Hears the events of a run."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    async def around_run(self, run: Run[Any], events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        async for event in events:
            self.heard.append(event)
            yield event


def test_hooks_around_a_run_read_all_the_same() -> None:
    hooks = Listening()
    agent(CALL, FINAL, hooks=hooks).run_sync("Twice 21?")
    texts = {kind: "".join(e.text for e in hooks.heard if isinstance(e, kind)) for kind in KINDS}
    assert texts == {ReasoningDelta: "Hm.", TextDelta: "It is 42."}


class Stopping(Scripted):
    """Ends without a reason."""

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        yield GeneratedToken(200_005)


def test_an_engine_that_ends_without_a_reason_is_an_error() -> None:
    with pytest.raises(EngineError, match="without a reason"):
        Agent(Stopping()).run_sync("Hi")
