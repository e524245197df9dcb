"""Hooks before and after model and tool, and a monitor of the reasoning, beside scripted runs."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scripted import Scripted

from harmony import DeveloperContent, Message, Role, load_encoding
from harmony.agent import (
    Agent,
    Answer,
    Call,
    Event,
    Finding,
    Flagged,
    Hooks,
    ReasoningDelta,
    Run,
    RunResult,
    TextDelta,
    ToolReturned,
)
from harmony.errors import ToolError
from harmony.runtime.generation import SamplingParams
from harmony.tools.functions import function

ENCODING = load_encoding()
THOUGHT = "<|channel|>analysis<|message|>I double it in secret.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"


@function
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def run(*turns: str, **options: Any) -> tuple[Sequence[Event], RunResult[str], Scripted]:
    """The events of a run, its result, and its engine."""
    engine = Scripted(*turns)

    async def go() -> tuple[Sequence[Event], RunResult[str]]:
        run = Agent(engine, tools=[double], **options).stream("What is twice 21?")
        events = [event async for event in run]
        return events, run.result

    return *asyncio.run(go()), engine


class Diary(Hooks):
    """Writes down what it is called with."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
        self.lines.append(f"model {run.turns}")
        return sampling

    async def after_model(self, run: Run[Any]) -> None:
        self.lines.append(f"{run.call.recipient if run.call else run.text}")

    async def before_tool(self, run: Run[Any], call: Call) -> Call:
        self.lines.append(f"tool {call.arguments}")
        return call

    async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
        self.lines.append(f"answer {answer.text}")
        return answer


def test_hooks_are_called_in_order() -> None:
    """Before and after each turn of the model and each call."""
    diary = Diary()
    run(CALL, FINAL, hooks=diary)
    assert diary.lines == [
        "model 0",
        "functions.double",
        'tool {"number": 21}',
        "answer 42",
        "model 1",
        "It is 42.",
    ]


def test_a_hook_changes_the_sampling_and_tells_the_model_more() -> None:
    """Both hold for the turn that it stands before."""

    class Adds(Hooks):
        async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
            content = DeveloperContent.new().with_instructions("Be brief.")
            run.transcript.append(Message.from_role_and_content(Role.DEVELOPER, content))
            return replace(sampling, max_tokens=4)

    _, result, engine = run(FINAL, hooks=Adds())
    assert "Be brief." in ENCODING.decode(engine.prompts[0])
    assert (result.text, result.stop_reason) == ("It", "max_tokens")


def test_a_hook_changes_a_call_and_its_answer() -> None:
    """The tool gets the changed call, the model the changed answer; what was sampled stays."""

    class Changes(Hooks):
        async def before_tool(self, run: Run[Any], call: Call) -> Call:
            return replace(call, arguments='{"number": 4}')

        async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
            return replace(answer, text=f"about {answer.text}")

    events, _, engine = run(CALL, FINAL, hooks=Changes())
    assert [event.output for event in events if isinstance(event, ToolReturned)] == ["about 8"]
    assert '{"number": 21}<|call|>' in ENCODING.decode(engine.prompts[1])
    assert "<|message|>about 8<|end|>" in ENCODING.decode(engine.prompts[1])


def test_a_hook_answers_in_place_of_the_tool() -> None:
    """A ToolError is read by the model, and the run goes on."""

    class Refuses(Hooks):
        async def before_tool(self, run: Run[Any], call: Call) -> Call:
            raise ToolError("Not on Sundays.")

    events, result, _ = run(CALL, FINAL, hooks=Refuses())
    (returned,) = (event for event in events if isinstance(event, ToolReturned))
    assert (returned.output, returned.error, result.text) == ("Error: Not on Sundays.", True, "It is 42.")


@pytest.mark.parametrize("place", ["before_model", "after_model", "before_tool", "after_tool"])
def test_a_hook_stops_a_run(place: str) -> None:
    """Before a turn, before a call, or after the tool's answer; the transcript can be continued."""

    class Stops(Hooks):
        pass

    async def stop(self: Hooks, run: Run[Any], *values: Any) -> Any:
        run.stop()
        return values[-1] if values else None

    setattr(Stops, place, stop)
    _, result, engine = run(CALL, FINAL, hooks=Stops())
    assert result.stop_reason == "hook"
    assert len(engine.prompts) == (place != "before_model")
    says = {"before_model": "twice 21?<|end|>", "after_model": "<|call|>"}.get(place, "42<|end|>")
    assert ENCODING.decode(result.transcript.tokens).endswith(says)
    resumed = asyncio.run(Agent(Scripted(FINAL), tools=[double]).run(None, transcript=result.transcript))
    assert resumed.text == "It is 42."


@pytest.mark.parametrize(("turn", "reason"), [(CALL, "hook"), (FINAL, "answer")])
def test_a_run_is_stopped_while_the_model_samples(turn: str, reason: str) -> None:
    """It ends after the turn, whose call is left open; an answer in that turn is one."""

    class Reader(Hooks):
        async def around_run(self, run: Run[Any], events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
            async for event in events:
                if isinstance(event, ReasoningDelta):
                    run.stop()
                yield event

    _, result, _ = run(THOUGHT + turn, FINAL, hooks=Reader())
    assert (result.stop_reason, result.turns) == (reason, 1)
    assert (result.pending is None) == (reason == "answer")


def test_what_a_hook_raises_leaves_the_run() -> None:
    """A broken hook is no reason to go on without it."""

    class Breaks(Hooks):
        async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(CALL, FINAL, hooks=Breaks())


class Listener:
    """Keeps the reasoning, and stops or flags at a word."""

    def __init__(self, word: str = "", *, stop: bool = False) -> None:
        self.heard = ""
        self._word = word
        self._stop = stop

    def read(self, delta: str) -> Finding | None:
        self.heard += delta
        return Finding(f"it says {self._word}", self._stop) if self._word and self._word in delta else None


def test_a_monitor_hears_the_reasoning_alone() -> None:
    """As it streams; no call, no answer; each run has a monitor of its own."""
    made: list[Listener] = []

    def make() -> Listener:
        made.append(Listener())
        return made[-1]

    async def two() -> None:
        agent = Agent(Scripted(THOUGHT + CALL, THOUGHT + FINAL, FINAL), tools=[double], monitor=make)
        await agent.run("One?")
        await agent.run("Two?")

    asyncio.run(two())
    assert [listener.heard for listener in made] == ["I double it in secret." * 2, ""]


def test_a_monitor_flags_a_run() -> None:
    """The flag comes with the delta that it is about, and is in the result; the run goes on."""
    events, result, _ = run(THOUGHT + FINAL, monitor=lambda: Listener("secret"))
    place = next(i for i, event in enumerate(events) if isinstance(event, Flagged))
    before = "".join(event.text for event in events[:place] if isinstance(event, ReasoningDelta))
    assert before == "I double it in secret"
    assert result.findings == (Finding("it says secret"),)
    assert (result.text, result.stop_reason) == ("It is 42.", "answer")


def test_a_monitor_stops_a_run() -> None:
    """Nothing more is sampled, no call runs, and the transcript is closed where it was stopped."""
    events, result, _ = run(THOUGHT + CALL, FINAL, monitor=lambda: Listener("double", stop=True))
    assert (result.stop_reason, result.text) == ("monitor", "")
    assert not any(isinstance(event, ToolReturned) for event in events)
    assert ENCODING.decode(result.transcript.tokens).endswith("<|message|>I double<|end|>")
    assert result.findings[0].stop


def test_the_reasoning_is_in_its_own_events_alone() -> None:
    """What an application shows to its users, text and text events, has none of it."""
    events, result, _ = run(THOUGHT + CALL, THOUGHT + FINAL)
    shown = [event for event in events if not isinstance(event, ReasoningDelta)]
    assert "secret" in "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert not any("secret" in event.model_dump_json() for event in shown)
    assert result.text == "".join(event.text for event in events if isinstance(event, TextDelta))
