"""A run: its limits, its state while it goes on, and its result."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar

from harmony import Message
from harmony.agent.calls import TOOL_OUTPUT_TOKENS, Call, open_call
from harmony.agent.completion import Completion
from harmony.agent.events import Event, RunFinished, StopReason, Usage
from harmony.agent.hooks import Finding, Hooks, ReasoningMonitor
from harmony.agent.output import Output
from harmony.agent.session import Session
from harmony.errors import OutputError
from harmony.runtime.generation import SamplingParams
from harmony.tools.citations import Citation
from harmony.transcript import Transcript

if TYPE_CHECKING:
    from harmony.agent.trace import RunTrace

T = TypeVar("T")
_caller: ContextVar["Run[Any] | None"] = ContextVar("_caller", default=None)
"""The run whose tool is being called; a run that is begun in it is on its account."""


@dataclass(frozen=True)
class Limits:
    """What ends a run: model turns, calls of tools, sampled tokens, wall-clock seconds; None is no limit.

    The call after the last of `tool_calls` stays open. Tokens and seconds are also those of runs that its
    tools begin.

    `reasoning_tokens` ends the reasoning of a run that takes longer, where a grammar can be kept to. A
    tool's answer is cut in the middle to `tool_output_tokens`, or to a quarter of the model's context
    if that is less. Raises ValueError for what is no limit.
    """

    turns: int = 20
    tool_calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    reasoning_tokens: int | None = None
    tool_output_tokens: int = TOOL_OUTPUT_TOKENS

    def __post_init__(self) -> None:
        if self.turns < 1:
            raise ValueError(f"turns must be 1 or more: {self}")
        for name in ("tool_calls", "tokens", "seconds", "reasoning_tokens", "tool_output_tokens"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:  # nor is NaN
                raise ValueError(f"{name} must be 0 or more: {self}")


class RunOptions(TypedDict, total=False):
    """What else a run takes.

    It goes on with `transcript`, of an earlier result, or with `session`, in which it is saved as it goes.
    `tool_choice` is "auto", "none", or, for the first turn, "required" or the name of a tool.
    """

    transcript: Transcript | None
    session: Session | None
    tool_choice: str


@dataclass(frozen=True)
class RunResult(Generic[T]):
    """How a run ended. Give `transcript` to the next run to go on with the conversation.

    `closed` says that a limit ended it and that the answer was brought to a valid end all the same;
    `citations` are those in `text` that name a page which a tool has displayed; `findings` are those of the
    reasoning monitor, `pending` is a call that no tool has answered, because the run ended at it. The
    reasoning is in `transcript` and `messages`, and nowhere else.
    """

    text: str
    stop_reason: StopReason
    turns: int
    usage: Usage
    transcript: Transcript
    closed: bool
    asked: Output[T]
    citations: tuple[Citation, ...] = ()
    findings: tuple[Finding, ...] = ()
    pending: Call | None = None

    @property
    def output(self) -> T:
        """The answer as a value of the type that was asked for; the text if none was.

        Raises OutputError when it is none, because a limit cut it off or a check of the type fails.
        """
        if self.asked.format is not None and self.stop_reason != "answer" and not self.closed:
            raise OutputError(f"The answer was cut off ({self.stop_reason}): give it more room.", path=())
        return self.asked.read(self.text)

    @property
    def messages(self) -> list[Message]:
        """The conversation, the reasoning of the last turn included."""
        return self.transcript.messages


class Run(Generic[T]):
    """A run in progress: iterate over it for its events, then read its `result`.

    `step` takes one turn and yields its events; it sets `stop_reason` when the run is over, and `model` to
    the name of the engine. What was said is saved in `session` before the first turn, after each step, and
    when the run is stopped in one. `is_told` says whether there are events of its tokens: none where
    nobody reads them, neither who began the run (`is_read`) nor what stands beside it.
    """

    def __init__(
        self,
        step: Callable[["Run[T]"], AsyncGenerator[Event]],
        transcript: Transcript,
        limits: Limits,
        asked: Output[T],
        tool_choice: str,
        session: Session | None = None,
        monitor: ReasoningMonitor | None = None,
        trace: "RunTrace | None" = None,
        hooks: Hooks | None = None,
        *,
        is_read: bool = True,
    ) -> None:
        events = self._all_steps(step)
        events = events if trace is None else trace.events(events, lambda: self.usage)
        self._events = events if hooks is None else hooks.around_run(self, events)
        hooked = hooks is not None and type(hooks).around_run is not Hooks.around_run
        self.is_told = is_read or hooked or not (trace is None and monitor is None)
        self.trace = trace
        self.model = ""
        self._deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        self._caller = _caller.get()
        self.limits = limits
        self.asked = asked
        self._tool_choice = tool_choice
        self._session = session
        self._version = 0 if session is None else session.version
        self._monitor = monitor
        self.findings: list[Finding] = []
        self.transcript = transcript
        self.call = open_call(transcript.said)
        self.decision = session.decision if session is not None and self.call is not None else None
        self.turns = self.tool_calls = 0
        self.text = ""
        self.usage = Usage()
        self.citations: tuple[Citation, ...] = ()
        self.closed = False
        self.stop_reason: StopReason | None = "max_tokens" if self.tokens_left() == 0 else None

    def __aiter__(self) -> AsyncGenerator[Event]:
        return self._events

    async def aclose(self) -> None:
        """Stop the run; the transcript keeps what was said until now."""
        await self._events.aclose()

    @property
    def result(self) -> RunResult[T]:
        """Raises RuntimeError while the run goes on."""
        if self.stop_reason is None:
            raise RuntimeError("The run has not ended: iterate over its events first.")
        return RunResult(
            self.text,
            self.stop_reason,
            self.turns,
            self.usage,
            self.transcript,
            self.closed,
            self.asked,
            self.citations,
            tuple(self.findings),
            self.call,
        )

    @property
    def session_id(self) -> str | None:
        """The session that it goes on with."""
        return None if self._session is None else self._session.id

    def seconds_left(self) -> float | None:
        """Until the run's time is up; None when it has no limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def tokens_left(self) -> int | None:
        """How many tokens may still be sampled, by this run and by those that called it; None: no limit."""
        left = None if self._caller is None else self._caller.tokens_left()
        if self.limits.tokens is None:
            return left
        own = max(0, self.limits.tokens - self.usage.completion_tokens)
        return own if left is None else min(own, left)

    def within_limits(self, sampling: SamplingParams) -> SamplingParams:
        """`sampling` with what is left of the run's tokens as its limit."""
        left = self.tokens_left()
        return (
            sampling if left is None else replace(sampling, max_tokens=min(left, sampling.max_tokens or left))
        )

    def reasoning_left(self) -> int | None:
        """How many more tokens the run may reason with; None when it has no limit."""
        most = self.limits.reasoning_tokens
        return None if most is None else max(0, most - self.usage.reasoning_tokens)

    @property
    def tool_choice(self) -> str:
        """What the next turn may call: a tool that has to be called was, after the first turn."""
        return self._tool_choice if self.turns == 0 or self._tool_choice == "none" else "auto"

    def add(self, completion: Completion) -> None:
        """Take over what the model sampled in a turn, and decide whether the run goes on."""
        self.turns += 1
        completion.append_to(self.transcript)
        self.call = completion.call
        self.spend(completion.usage)
        answer = completion.answer
        self.text = answer or ""
        self.closed = completion.closed
        self.stop_reason = self._reason_to_stop(completion.finish, answer) or self.stop_reason

    def answer(self, message: Message) -> None:
        """Take over what a tool answered to the open call."""
        self.transcript.append(message)
        self.call = self.decision = None
        self.tool_calls += 1
        if self.stop_reason is None and self.tokens_left() == 0:
            self.stop_reason = "max_tokens"

    def stop(self, reason: StopReason = "hook") -> None:
        """End the run after the step it is in, unless it has ended."""
        self.stop_reason = self.stop_reason or reason

    def judge(self, reasoning: str) -> Finding | None:
        """What the monitor finds in more reasoning; a finding may stop the run."""
        finding = None if self._monitor is None else self._monitor.read(reasoning)
        if finding is not None:
            self.findings.append(finding)
        return finding

    def spend(self, usage: Usage) -> None:
        """Count tokens that this run has used, or a run that one of its tools has begun."""
        self.usage += usage
        if self._caller is not None:
            self._caller.spend(usage)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """While a tool is called, runs that are begun in it are on this one's account."""
        token = _caller.set(self)
        try:
            yield
        finally:
            _caller.reset(token)

    def _reason_to_stop(
        self, finish: Literal["stop"] | StopReason | None, answer: str | None
    ) -> StopReason | None:
        if finish != "stop":
            return finish
        if self.call is None and answer is not None:
            return "answer"
        if self.tokens_left() == 0:
            return "max_tokens"
        if self.call is not None and self.tool_calls == self.limits.tool_calls:
            return "max_tool_calls"
        return "max_turns" if self.turns >= self.limits.turns else None

    async def _all_steps(self, step: Callable[["Run[T]"], AsyncGenerator[Event]]) -> AsyncGenerator[Event]:
        with ExitStack() as stack:
            if self._session is not None:
                stack.enter_context(self._session.running(self._version))
                stack.callback(self._save)
            while self.stop_reason is None:
                self._save()
                async with aclosing(step(self)) as events:
                    async for event in events:
                        yield event
        yield RunFinished(
            text=self.text,
            stop_reason=self.stop_reason,
            turns=self.turns,
            usage=self.usage,
            citations=self.citations,
            closed=self.closed,
        )

    def _save(self) -> None:
        if self._session is not None:
            self._session.save(self.transcript)
