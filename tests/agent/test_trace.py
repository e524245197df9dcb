"""Traces: what is recorded, that a file survives its process, and that a run replays token for token."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import (
    Agent,
    Answer,
    Call,
    Event,
    Finding,
    Hooks,
    Limits,
    Notice,
    Retries,
    Session,
    SessionStore,
    ToolReturned,
)
from harmony.agent.replay import replay, replay_engine
from harmony.agent.run import Run
from harmony.agent.trace_format import TracedRun, read_trace
from harmony.errors import ContextLengthError, EngineError, HarmonyError, ReplayError, TraceError
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenLogprob
from harmony.tools.functions import function

ENCODING = load_encoding()
SUPPORT = Path(__file__).resolve().parent.parent / "support"
THOUGHT = "<|channel|>analysis<|message|>Double it.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"


@function
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


class Measured(Scripted):
    """A scripted engine that holds half of each prompt, and tells the logarithms of probabilities."""

    default_sampling = SamplingParams(logprobs=1)

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        async for token in super().generate(prompt, sampling, stop=stop):
            top = (TokenLogprob(token.token, -0.5), TokenLogprob(7, float("-inf")))
            yield GeneratedToken(token.token, token.finish_reason, -0.5, top, len(prompt) // 2)


def events_of(run: Run[str]) -> list[Event]:
    """All events of a run; those of a tool without how long it took."""

    async def collect() -> list[Event]:
        return [event async for event in run]

    return [
        event.model_copy(update={"seconds": 0.0}) if isinstance(event, ToolReturned) else event
        for event in asyncio.run(collect())
    ]


def record(file: Path, engine: Scripted, **options: object) -> tuple[list[Event], TracedRun]:
    """A run with a tool, and what the trace has of it."""
    agent = Agent(engine, tools=[double], trace=file, **options)  # type: ignore[arg-type]
    events = events_of(agent.stream("What is twice 21?"))
    return events, read_trace(file, ENCODING)[-1]


def test_a_trace_has_what_the_engine_was_asked_and_gave(tmp_path: Path) -> None:
    """Prompts, tokens, logprobs, cached tokens and times of both turns, exactly."""
    engine = Measured(THOUGHT + CALL, FINAL)
    _, recorded = record(tmp_path / "run.jsonl", engine)
    assert [list(turn.prompt) for turn in recorded.turns] == engine.prompts
    assert [turn.line.tokens for turn in recorded.turns] == engine._turns
    assert [turn.line.cached_tokens for turn in recorded.turns] == [len(p) // 2 for p in engine.prompts]
    for turn in recorded.turns:
        assert set(turn.line.logprobs) == {-0.5}
        assert turn.line.seconds == sorted(turn.line.seconds)
        assert turn.generated[0].top_logprobs[1] == TokenLogprob(7, float("-inf"))
        assert turn.generated[-1].finish_reason == "stop"
    assert [answer.output for answer in recorded.answers] == ["42"]
    assert recorded.finished is not None
    assert recorded.finished.text == "It is 42."


def test_tokens_are_stored_once(tmp_path: Path) -> None:
    """A turn's line has only what its prompt adds to the context before; every line is JSON."""
    _, recorded = record(tmp_path / "run.jsonl", Measured(THOUGHT + CALL, FINAL))
    assert recorded.turns[0].line.added == []
    assert ENCODING.decode(recorded.turns[1].line.added).startswith("<|start|>functions.double to=assistant")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == [
        "trace", "run", "turn", "event", "event", "turn", "event",
    ]  # fmt: skip


def test_a_run_replays_without_its_model_and_tools(tmp_path: Path) -> None:
    """The same events, the same tokens, and the tool does not run again."""
    events, recorded = record(tmp_path / "run.jsonl", Measured(THOUGHT + CALL, FINAL))
    again = replay(recorded)
    assert events_of(again) == events
    last = recorded.turns[-1]
    assert again.transcript.tokens == [*last.prompt, *last.line.tokens]


def test_a_run_replays_in_an_agent_with_its_tools(tmp_path: Path) -> None:
    """The engine of a recording takes the place of the model; a trace of the replay has the same tokens."""
    events, recorded = record(tmp_path / "run.jsonl", Measured(THOUGHT + CALL, FINAL))
    agent = Agent(replay_engine(recorded), tools=[double], trace=tmp_path / "again.jsonl")
    assert events_of(agent.stream("What is twice 21?")) == events
    (again,) = read_trace(tmp_path / "again.jsonl", ENCODING)
    assert [turn.prompt for turn in again.turns] == [turn.prompt for turn in recorded.turns]
    assert [turn.generated for turn in again.turns] == [turn.generated for turn in recorded.turns]


def test_another_prompt_is_refused(tmp_path: Path) -> None:
    """A replay says at which token the prompt differs, and in which turn."""
    _, recorded = record(tmp_path / "run.jsonl", Scripted(CALL, FINAL))
    with pytest.raises(ReplayError, match="turn 1 is not the recorded one") as raised:
        events_of(Agent(replay_engine(recorded), tools=[double]).stream("What is thrice 21?"))
    expected = ENCODING.encode(" twice")[0]
    assert recorded.turns[0].prompt[raised.value.position or 0] == expected
    assert raised.value.turn == 1

    @function(name="double")
    def half(number: int) -> int:
        """Twice a number."""
        return number // 2

    with pytest.raises(ReplayError, match="turn 2 is not"):
        events_of(Agent(replay_engine(recorded), tools=[half]).stream("What is twice 21?"))


def test_more_turns_than_recorded_are_refused(tmp_path: Path) -> None:
    """A recording that stops after a call has no answer to give."""
    _, recorded = record(tmp_path / "run.jsonl", Scripted(CALL), limits=Limits(turns=1))
    with pytest.raises(ReplayError, match="has 1 turns and turn 2 was asked for"):
        events_of(Agent(replay_engine(recorded), tools=[double]).stream("What is twice 21?"))


@pytest.mark.parametrize(
    "limits", [Limits(turns=1), Limits(tokens=9), Limits(tokens=18), Limits(seconds=0.2)]
)
def test_a_run_that_a_limit_ended_replays(tmp_path: Path, limits: Limits) -> None:
    """It stops where it stopped, for the reason for which it stopped; no time passes."""

    class Hanging(Scripted):
        async def generate(
            self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
        ) -> AsyncGenerator[GeneratedToken]:
            async for token in super().generate(prompt, sampling, stop=stop):
                yield token
                if limits.seconds and len(self.prompts) == 2:
                    await asyncio.sleep(60)

    events, recorded = record(tmp_path / "run.jsonl", Hanging(CALL, FINAL), limits=limits)
    assert events_of(replay(recorded)) == events
    assert recorded.finished is not None
    assert recorded.finished.stop_reason != "answer"


def test_a_tool_that_took_too_long_replays(tmp_path: Path) -> None:
    """The call is cut off again, without waiting."""

    @function
    async def slow() -> str:
        """Takes long."""
        await asyncio.sleep(60)
        return "done"

    call = "<|channel|>commentary to=functions.slow<|message|>{}<|call|>"
    agent = Agent(Scripted(call), tools=[slow], limits=Limits(seconds=0.2), trace=tmp_path / "run.jsonl")
    events = events_of(agent.stream("Go."))
    (recorded,) = read_trace(tmp_path / "run.jsonl", ENCODING)
    assert events_of(replay(recorded)) == events


@pytest.mark.parametrize("said", [CALL, THOUGHT.partition("<|end|>")[0], FINAL])
def test_a_run_that_goes_on_replays(tmp_path: Path, said: str) -> None:
    """It begins where the conversation stood: at a call, in a thought that was cut off, or at an answer."""
    begun = Agent(Scripted(said), tools=[double], limits=Limits(turns=1)).run_sync("What is twice 21?")
    agent = Agent(Scripted(FINAL), tools=[double], trace=tmp_path / "run.jsonl")
    events = events_of(agent.stream(None, transcript=begun.transcript))
    (recorded,) = read_trace(tmp_path / "run.jsonl", ENCODING)
    assert events_of(replay(recorded)) == events


@pytest.mark.parametrize("decide", [None, Session.approve, Session.reject])
def test_a_run_that_waited_for_approval_replays(
    tmp_path: Path, decide: Callable[[Session], None] | None
) -> None:
    """Up to the call that waits, or from there on, whatever was decided."""
    session = SessionStore(":memory:").session("trip")
    agent = Agent(
        Scripted(CALL, FINAL), tools=[double], approve=lambda *_: "later", trace=tmp_path / "run.jsonl"
    )
    events = events_of(agent.stream("What is twice 21?", session=session))
    if decide is not None:
        decide(session)
        events = events_of(agent.stream(None, session=session))
    assert events_of(replay(read_trace(tmp_path / "run.jsonl", ENCODING)[-1])) == events


@pytest.mark.parametrize("stop", [False, True])
def test_what_a_monitor_found_replays(tmp_path: Path, stop: bool) -> None:
    """After the same tokens."""

    class Monitor:
        def read(self, delta: str) -> Finding | None:
            return Finding("it computes", stop) if delta == " it" else None

    events, recorded = record(tmp_path / "run.jsonl", Scripted(THOUGHT + CALL, FINAL), monitor=Monitor)
    assert [event.type for event in events[:3]] == ["reasoning_delta", "reasoning_delta", "flagged"]
    assert events_of(replay(recorded)) == events


@pytest.mark.parametrize("place", ["before_model", "after_model", "after_tool"])
def test_a_run_that_a_hook_stopped_replays(tmp_path: Path, place: str) -> None:
    """It ends where it ended."""

    class Stopping(Hooks):
        async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
            if place == "before_model" and run.turns:
                run.stop()
            return sampling

        async def after_model(self, run: Run[Any]) -> None:
            if place == "after_model":
                run.stop()

        async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
            if place == "after_tool":
                run.stop()
            return answer

    events, recorded = record(tmp_path / "run.jsonl", Scripted(CALL, FINAL), hooks=Stopping())
    assert recorded.finished is not None
    assert recorded.finished.stop_reason == "hook"
    assert events_of(replay(recorded)) == events


@pytest.mark.parametrize("most", [0, 1, 50])
def test_an_answer_that_was_cut_replays(tmp_path: Path, most: int) -> None:
    """As it was cut, and not cut again, though the note alone is longer than some limits."""

    @function(name="double")
    def flood(number: int) -> str:
        """Twice a number."""
        return f"{number} " * 1000

    agent = Agent(
        Scripted(CALL, FINAL),
        tools=[flood],
        limits=Limits(tool_output_tokens=most),
        trace=tmp_path / "run.jsonl",
    )
    events = events_of(agent.stream("What is twice 21?"))
    assert events_of(replay(read_trace(tmp_path / "run.jsonl", ENCODING)[-1])) == events


@pytest.mark.parametrize("tokens", [None, 31, 25])
def test_what_an_agent_in_a_tool_has_used_replays(tmp_path: Path, tokens: int | None) -> None:
    """It counts as it did, towards the limit too, though the agent does not run again."""
    twice = Agent(Scripted(FINAL)).as_tool("double", "Doubles.")
    call = CALL.replace('"number": 21', '"task": "21"')
    agent = Agent(
        Scripted(call, FINAL), tools=[twice], limits=Limits(tokens=tokens), trace=tmp_path / "run.jsonl"
    )
    events = events_of(agent.stream("What is twice 21?"))
    assert events_of(replay(read_trace(tmp_path / "run.jsonl", ENCODING)[-1])) == events


def test_a_turn_that_was_asked_for_again_replays(tmp_path: Path) -> None:
    """Without what failed, and without the notice of it."""

    class Failing(Scripted):
        async def generate(
            self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
        ) -> AsyncGenerator[GeneratedToken]:
            if not self.prompts:
                self.prompts.append(list(prompt))
                raise EngineError("busy")
            async for token in super().generate(prompt, sampling, stop=stop):
                yield token

    retries = Retries(1, seconds=0)
    events, recorded = record(tmp_path / "run.jsonl", Failing(CALL, CALL, FINAL), retries=retries)
    assert len(recorded.turns) == 3
    assert events_of(replay(recorded)) == [event for event in events if not isinstance(event, Notice)]


def test_an_error_of_the_engine_is_recorded(tmp_path: Path) -> None:
    """The turn has it, and a replay raises it again."""
    agent = Agent(Scripted(FINAL, context_length=5), trace=tmp_path / "run.jsonl")
    with pytest.raises(ContextLengthError):
        events_of(agent.stream("Hi"))
    (recorded,) = read_trace(tmp_path / "run.jsonl", ENCODING)
    assert recorded.turns[0].line.error == "ContextLengthError: the prompt is too long"
    with pytest.raises(ContextLengthError, match="the prompt is too long"):
        events_of(replay(recorded))


def test_a_run_that_was_stopped_keeps_what_was_sampled(tmp_path: Path) -> None:
    """The turn in flight is written when a run is closed; its replay says that it ends there."""

    async def stop_early() -> None:
        run = Agent(Scripted(FINAL), trace=tmp_path / "run.jsonl").stream("Hi")
        await anext(run.__aiter__())
        await run.aclose()

    asyncio.run(stop_early())
    (recorded,) = read_trace(tmp_path / "run.jsonl", ENCODING)
    assert ENCODING.decode(recorded.turns[0].line.tokens) == "<|channel|>final<|message|>It"
    assert recorded.finished is None
    with pytest.raises(ReplayError, match="was cancelled here"):
        events_of(replay(recorded))


def test_runs_at_the_same_time_share_a_file(tmp_path: Path) -> None:
    """Each run's lines are its own, however they interleave."""

    async def both() -> None:
        agents = [
            Agent(Scripted(CALL, FINAL), tools=[double], trace=tmp_path / "run.jsonl") for _ in range(8)
        ]
        await asyncio.gather(*(agent.run("What is twice 21?") for agent in agents))

    asyncio.run(both())
    recorded = read_trace(tmp_path / "run.jsonl", ENCODING)
    assert len(recorded) == 8
    assert {tuple(len(turn.line.tokens) for turn in run.turns) for run in recorded} == {
        tuple(len(ENCODING.encode(text, allowed_special="all")) for text in (CALL, FINAL))
    }
    assert all(events_of(replay(run))[-1] == run.finished for run in recorded)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from scripted import Scripted
from harmony.agent import Agent
from harmony.tools.functions import function

@function
def double(number: int) -> int:
    "Twice a number."
    print("called", flush=True)
    time.sleep(60)

Agent(Scripted(sys.argv[3]), tools=[double], trace=sys.argv[2]).run_sync("What is twice 21?")
"""


def test_a_killed_process_leaves_a_file_that_can_be_read_and_added_to(tmp_path: Path) -> None:
    """Killed in a tool, nothing of the turn before is lost; half a line at the end is passed over."""
    file = tmp_path / "run.jsonl"
    arguments = [sys.executable, "-c", KILLED, str(SUPPORT), str(file), THOUGHT + CALL]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"called\n"
        os.kill(process.pid, signal.SIGKILL)
    (recorded,) = read_trace(file, ENCODING)
    assert ENCODING.decode(recorded.turns[0].line.tokens) == THOUGHT + CALL
    assert recorded.finished is None
    with file.open("a") as torn:
        torn.write('{"type":"turn","run":"')
    assert read_trace(file, ENCODING) == [recorded]
    events, again = record(file, Scripted(CALL, FINAL))
    assert read_trace(file, ENCODING) == [recorded, again]
    assert events_of(replay(again)) == events


@pytest.mark.parametrize("content", ["notes\n", "{}\n", '{"type":"trace","version":2}\n', '{"type":"run"}\n'])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    """Nothing is appended to what is no trace, and it is not read as one."""
    file = tmp_path / "notes.txt"
    file.write_text(content)
    with pytest.raises(TraceError, match="is not empty and no trace"):
        Agent(Scripted(FINAL), trace=file)
    assert file.read_text() == content
    with pytest.raises(TraceError, match="line 1"):
        read_trace(file, ENCODING)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """A folder, and a file that is not there, in one line."""
    with pytest.raises(TraceError, match="cannot be written"):
        Agent(Scripted(FINAL), trace=tmp_path)
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "absent.jsonl", ENCODING)


@pytest.fixture(scope="module")
def raw_trace(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a trace of one run."""
    file = tmp_path_factory.mktemp("raw") / "run.jsonl"
    record(file, Scripted(CALL, FINAL))
    return file.read_bytes()


@settings(max_examples=60)
@given(st.floats(0, 1), st.integers(0, 200), st.binary(max_size=10))
def test_a_damaged_file_is_refused_or_read(
    raw_trace: bytes, tmp_path_factory: pytest.TempPathFactory, where: float, lost: int, put: bytes
) -> None:
    """Whatever bytes are changed, reading ends with runs or with an error of this package."""
    start = int(where * len(raw_trace))
    file = tmp_path_factory.mktemp("trace") / "run.jsonl"
    file.write_bytes(raw_trace[:start] + put + raw_trace[start + lost :])
    with contextlib.suppress(HarmonyError):
        assert all(isinstance(run, TracedRun) for run in read_trace(file, ENCODING))
