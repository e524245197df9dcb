"""Recorded runs again, token for token: the engine gives what was sampled, the tools say what they said."""

import dataclasses
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, Any

from harmony import load_encoding
from harmony.agent.agent import Agent
from harmony.agent.calls import Call
from harmony.agent.hooks import Finding, Hooks
from harmony.agent.routing import Answer, Toolbox
from harmony.agent.run import Run
from harmony.agent.trace_format import TracedRun, TracedTurn, common_prefix
from harmony.errors import (
    ApprovalNeededError,
    ConstraintError,
    ContextLengthError,
    EngineError,
    GrammarError,
    ReplayError,
    TraceError,
)
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.tools.citations import Citation

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint

__all__ = ["replay", "replay_engine"]

_ERRORS = {error.__name__: error for error in (ContextLengthError, GrammarError, ConstraintError)}


def replay(recorded: TracedRun) -> Run[str]:
    """The run again, without its model and tools: the same loop on the recorded tokens and tool results.

    Whoever stopped or flagged it does so again, where it did: the monitor, a hook, an approval that had to
    wait. Its events are those of the recording, but for the seconds of the tools and for notices about the
    engine. Raises TraceError for a run without a turn, ReplayError, while it goes on, where the recording
    stops, this version of the loop asks for something else, or a hook had told the model something more.
    """
    transcript = recorded.transcript(load_encoding())
    if not transcript.said:
        raise TraceError(f"run {recorded.line.run} has no question to replay; record it again")
    engine = ReplayEngine(recorded)
    uncut = engine.context_length  # what the tools said was cut when it was recorded
    agent = Agent(
        engine,
        limits=dataclasses.replace(recorded.line.limits, seconds=None, tool_output_tokens=uncut),
        hooks=_RecordedHooks(recorded, engine),
        monitor=lambda: _RecordedMonitor(recorded, engine),
    )
    agent._toolbox = _RecordedTools(recorded)
    return agent.stream(None, transcript=transcript)


def replay_engine(recorded: TracedRun) -> "ReplayEngine":
    """What replays a run in an agent of your own: it keeps to grammars if the recorded engine did.

    >>> (recorded,) = read_trace("run.jsonl")
    >>> Agent(replay_engine(recorded), tools=[get_weather]).run_sync("What's the weather in Paris?")
    """
    vocab_size = recorded.turns[0].line.vocab_size if recorded.turns else None
    return ReplayEngine(recorded) if vocab_size is None else ConstrainedReplayEngine(recorded, vocab_size)


class ReplayEngine:
    """A TokenEngine that gives the generations of a recorded run in their order, for the prompts they had.

    Raises ReplayError for another prompt, for more turns than were recorded, and where a recorded turn was
    cancelled; it raises again what the engine raised, unless the turn was asked for again then. `given` is
    how many tokens it has given.
    """

    def __init__(self, recorded: TracedRun) -> None:
        if not recorded.turns:
            raise TraceError(f"run {recorded.line.run} has no turn to replay; it ended before its first one")
        self._recorded = recorded
        self._turns = _of_use(recorded.turns)
        self._number = self.given = 0
        first = recorded.turns[0].line
        self.name = first.model
        self.context_length = first.context_length
        self.default_sampling = first.sampling

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield what was sampled, as TokenEngine.generate does."""
        turn = self._next(prompt)
        for token in turn.generated:
            self.given += 1
            yield token
        if turn.line.error is not None:
            kind, _, text = turn.line.error.partition(": ")
            raise _ERRORS.get(kind, EngineError)(text)
        if turn.line.finish_reason is None:
            self._cut()

    @property
    def is_used_up(self) -> bool:
        """Whether all turns were given."""
        return self._number == len(self._turns)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _next(self, prompt: Sequence[int]) -> TracedTurn:
        self._number += 1
        if self._number > len(self._turns):
            raise ReplayError(
                f"the recording has {self._number - 1} turns and turn {self._number} was asked for; "
                "replay with the limits and tools of the run",
                turn=self._number,
                position=None,
            )
        turn = self._turns[self._number - 1]
        if list(turn.prompt) == list(prompt):
            return turn
        position = common_prefix(turn.prompt, prompt)
        raise ReplayError(
            f"the prompt of turn {self._number} is not the recorded one from token {position} on; replay "
            "with the question, instructions, tools and date of the run, or from its transcript",
            turn=self._number,
            position=position,
        )

    def _cut(self) -> None:
        finished = self._recorded.finished
        if finished is not None and finished.stop_reason == "timeout":
            raise TimeoutError
        raise ReplayError(
            f"turn {self._number} was cancelled here when it was recorded", turn=self._number, position=None
        )


class ConstrainedReplayEngine(ReplayEngine):
    """The same in the place of an engine that keeps to grammars; what was recorded kept to them."""

    def __init__(self, recorded: TracedRun, vocab_size: int) -> None:
        super().__init__(recorded)
        self.vocab_size = vocab_size

    def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: "Constraint | None" = None,
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield what was sampled, as ConstrainedEngine.generate does."""
        return super().generate(prompt, sampling, stop=stop)


def _of_use(turns: Sequence[TracedTurn]) -> list[TracedTurn]:
    """The turns without those that failed before their first token, and were asked for again."""
    following = [*turns[1:], None]
    return [
        turn
        for turn, later in zip(turns, following, strict=True)
        if turn.line.tokens or turn.line.error is None or later is None or later.prompt != turn.prompt
    ]


class _RecordedHooks(Hooks):
    """Counts what runs in tools have used, and stops a run that a hook has stopped, once there is no more."""

    def __init__(self, recorded: TracedRun, engine: ReplayEngine) -> None:
        finished = recorded.finished
        self._stops = finished is not None and finished.stop_reason == "hook"
        self._answers = len(recorded.answers)
        self._spent = recorded.spent
        self._engine = engine

    async def after_model(self, run: Run[Any]) -> None:
        self._stop(run, run.tool_calls)

    async def before_tool(self, run: Run[Any], call: Call) -> Call:
        if run.tool_calls < self._answers:
            run.spend(self._spent[run.tool_calls])
        return call

    async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
        self._stop(run, run.tool_calls + 1)
        return answer

    def _stop(self, run: Run[Any], answered: int) -> None:
        if self._stops and self._engine.is_used_up and answered == self._answers:
            run.stop()


class _RecordedMonitor:
    """Finds what the monitor of a run has found, after the same tokens."""

    def __init__(self, recorded: TracedRun, engine: ReplayEngine) -> None:
        self._flags = dict(recorded.flags)
        self._engine = engine

    def read(self, delta: str) -> Finding | None:
        """What was found in the reasoning up to here."""
        flag = self._flags.get(self._engine.given)
        return None if flag is None else Finding(flag.reason, flag.stop)


class _RecordedTools(Toolbox):
    """Says what the tools of a run said, and runs nothing."""

    def __init__(self, recorded: TracedRun) -> None:
        super().__init__([])
        self._recorded = recorded
        self._answers = iter(recorded.answers)
        self._given = 0

    async def call(self, recipient: str, arguments: str) -> Answer:
        """What was answered; a call that was cut off by the run's time is again."""
        answer, finished = next(self._answers, None), self._recorded.finished
        self._given += 1
        if answer is None and finished is not None and finished.stop_reason == "approval":
            raise ApprovalNeededError(f"the call of {recipient} waited for approval")
        if answer is None:
            raise ReplayError(
                f"the call of {recipient} was not answered when it was recorded",
                turn=self._given,
                position=None,
            )
        timed_out = finished is not None and finished.stop_reason == "timeout"
        is_last = self._given == len(self._recorded.answers)
        if timed_out and is_last and self._recorded.turns[-1].line.finish_reason is not None:
            raise TimeoutError
        return Answer(answer.tool, answer.output, answer.error)

    def citations(self, answer: str) -> tuple[Citation, ...]:
        """Those that were found in the answer."""
        finished = self._recorded.finished
        return finished.citations if finished is not None and finished.text == answer else ()
