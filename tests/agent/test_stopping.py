"""How runs end before their answer, by limits, cancellation or engines that fail, and how they go on."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import suppress
from typing import Any

import pytest
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import Agent, Limits, Notice, Retries, Run, SessionStore, TextDelta, ToolReturned
from harmony.agent.events import Event
from harmony.errors import EngineError
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.tools.functions import function

ENCODING = load_encoding()
CALLED = ENCODING.encode("<|call|>", allowed_special="all")[0]
CALL = '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
THOUGHT = "<|channel|>analysis<|message|>I double it.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"


@function
async def double(number: int) -> int:
    """Twice a number."""
    for _ in range(3):
        await asyncio.sleep(0)
    return 2 * number


class Yielding(Scripted):
    """Gives the loop a turn before each token."""

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        async for token in super().generate(prompt, sampling, stop=stop):
            await asyncio.sleep(0)
            yield token


class Leaving(Scripted):
    """Says when a generation has ended, which takes a turn of the loop."""

    left = False

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        try:
            async for token in super().generate(prompt, sampling, stop=stop):
                yield token
        finally:
            await asyncio.sleep(0)
            self.left = True


class Failing(Scripted):
    """Fails the first times that it is asked, after some tokens."""

    def __init__(self, *turns: str, failures: int, after: int = 0) -> None:
        super().__init__(*turns)
        self.asked = 0
        self._failures = failures
        self._after = after

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        self.asked += 1
        fails, sampled = self.asked <= self._failures, 0
        if fails and not self._after:
            raise EngineError("the server is gone")
        async for token in super().generate(prompt, sampling, stop=stop):
            yield token
            sampled += 1
            if fails and sampled == self._after:
                raise EngineError("the server is gone")


async def consume(run: Run[str], events: list[Event]) -> None:
    async for event in run:
        events.append(event)  # noqa: PERF401 - what came before an error is kept


async def cancelled(steps: int, store: SessionStore) -> tuple[Run[str], bool]:
    """A run that is cancelled after so many steps of the loop, and whether it had ended by then."""
    agent = Agent(Yielding(THOUGHT + CALL, THOUGHT + FINAL), tools=[double])
    run = agent.stream("What is twice 21?", session=store.session(str(steps)))
    task = asyncio.create_task(consume(run, []))
    for _ in range(steps):
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await run.aclose()
    return run, ended


@pytest.mark.parametrize("limits", [Limits(), Limits(seconds=60)])
def test_a_run_that_is_closed_has_ended_its_generation(limits: Limits) -> None:
    """What the engine held for it is free by then."""

    async def close_early() -> bool:
        engine = Leaving(FINAL)
        run = Agent(engine, limits=limits).stream("Hi")
        await anext(aiter(run))
        await run.aclose()
        return engine.left

    assert asyncio.run(close_early())


def test_a_run_that_is_cancelled_anywhere_leaves_a_valid_transcript(oracle: Any) -> None:
    """At every step: openai-harmony parses it strictly, the session holds it, and the next run goes on."""
    seen = set[str]()
    with SessionStore(":memory:") as store:
        for steps in range(1, 200):
            run, ended = asyncio.run(cancelled(steps, store))
            messages = oracle.parse(run.transcript.tokens)
            seen.add(f"{messages[-1]['role']} {messages[-1].get('recipient')} {messages[-1].get('channel')}")
            assert store.open(str(steps)).transcript.tokens == run.transcript.tokens
            if ended:
                break
            resumed, asked = Yielding(FINAL), Yielding(FINAL)
            session = store.open(str(steps))
            asyncio.run(Agent(resumed, tools=[double]).run(None, transcript=run.transcript))
            asyncio.run(Agent(asked, tools=[double]).run("Go on.", session=session))
            for engine in (resumed, asked):
                answers = [m for m in oracle.parse(engine.prompts[0][:-2]) if m["role"] == "tool"]
                assert len(answers) == engine.prompts[0].count(CALLED)
        assert ended
    assert {"user None None", "assistant None analysis", "tool assistant commentary"} <= seen
    assert {"assistant functions.double commentary", "assistant None final"} <= seen


def test_the_limit_of_calls_leaves_the_next_one_open() -> None:
    """So many tools are called, and the call after them waits; a run goes on with it."""
    agent = Agent(Scripted(CALL, CALL, CALL), tools=[double], limits=Limits(tool_calls=2))
    result = agent.run_sync("Go")
    assert (result.stop_reason, result.turns) == ("max_tool_calls", 3)
    assert result.pending is not None
    assert sum(message.author.role == "tool" for message in result.messages) == 2
    resumed = Agent(Scripted(FINAL), tools=[double]).run_sync(None, transcript=result.transcript)
    assert sum(message.author.role == "tool" for message in resumed.messages) == 3


def test_no_tokens_are_no_turn() -> None:
    """A limit of none ends the run before the model is asked."""
    engine = Scripted()
    result = Agent(engine, limits=Limits(tokens=0)).run_sync("Hi")
    assert (result.stop_reason, engine.prompts) == ("max_tokens", [])


@pytest.mark.parametrize(
    "limits", [{"turns": 0}, {"tokens": -1}, {"seconds": float("nan")}, {"tool_calls": -1}]
)
def test_what_is_no_limit_is_refused(limits: dict[str, Any]) -> None:
    """By its name, before anything runs."""
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be"):
        Limits(**limits)


def run(engine: Failing, **options: Any) -> tuple[list[Event], Run[str], str]:
    """What happened, and the error that ended the run."""

    async def go() -> tuple[list[Event], Run[str], str]:
        run, events = Agent(engine, tools=[double], **options).stream("Go"), list[Event]()
        try:
            await consume(run, events)
        except EngineError as error:
            return events, run, str(error)
        return events, run, ""

    return asyncio.run(go())


def test_a_failure_before_the_first_token_is_tried_again() -> None:
    """As often as allowed; each attempt is told, and the prompt stays the same."""
    engine = Failing(FINAL, failures=2)
    events, ended, error = run(engine, retries=Retries(2, seconds=0.001))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices == [
        "nothing was sampled: the server is gone; asking again in 0.001 s",
        "nothing was sampled: the server is gone; asking again in 0.002 s",
    ]
    assert (ended.result.text, ended.turns, error, engine.asked) == ("It is 42.", 1, "", 3)


@pytest.mark.parametrize("retries", [Retries(), Retries(2, seconds=0.001)])
def test_an_engine_that_stays_away_ends_the_run(retries: Retries) -> None:
    """With its error, after the last attempt."""
    engine = Failing(FINAL, failures=9)
    assert run(engine, retries=retries)[2] == "the server is gone"
    assert engine.asked == retries.attempts + 1


def test_nothing_is_tried_again_after_the_first_token() -> None:
    """What was shown cannot be taken back; it is in the transcript, from which a run goes on."""
    engine = Failing(FINAL, FINAL, failures=1, after=5)
    events, stopped, error = run(engine, retries=Retries(5, seconds=0.001))
    assert (error, engine.asked) == ("the server is gone", 1)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "It is"
    resumed = Agent(engine).run_sync(None, transcript=stopped.transcript)
    assert resumed.text == "It is 42."
    assert "It is<|end|><|start|>assistant<|channel|>final<|message|>It is 42." in ENCODING.decode(
        resumed.transcript.tokens
    )


def test_a_retry_calls_no_tool_again() -> None:
    """The turn after a tool's answer is asked for again, the tool is not."""

    class FailsLater(Failing):
        async def generate(
            self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
        ) -> AsyncGenerator[GeneratedToken]:
            self.asked += 1
            if self.asked == 2:
                raise EngineError("the server is gone")
            async for token in Scripted.generate(self, prompt, sampling, stop=stop):
                yield token

    events, ended, _ = run(FailsLater(CALL, FINAL, failures=0), retries=Retries(1, seconds=0.001))
    assert sum(isinstance(event, ToolReturned) for event in events) == 1
    assert ended.result.text == "It is 42."


def test_an_attempt_needs_time() -> None:
    """One that would begin after the run's time is not waited for."""
    engine = Failing(FINAL, failures=1)
    assert run(engine, retries=Retries(1, seconds=60), limits=Limits(seconds=30))[2] == "the server is gone"
