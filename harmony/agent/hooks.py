"""What stands beside a run: hooks before and after model and tool, and a monitor of the reasoning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from harmony.agent.routing import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from harmony.agent.calls import Call
    from harmony.agent.events import Event
    from harmony.agent.run import Run
    from harmony.runtime.generation import SamplingParams


class Hooks:
    """Override what you need; everything else lets the run go on as it is.

    `run` has the `transcript`, `usage`, `turns` and `text` so far. `run.stop()` ends the run: in
    `before_model` before the turn; in `after_model`, or while the model samples, before the call that ended
    the turn; in the others after the tool's answer. `run.transcript.append(...)` in `before_model` tells the
    model something more. What a hook raises ends the run with that error, but for the ToolError of
    `before_tool`. One object serves all runs of its agent.
    """

    def around_run(self, run: Run[Any], events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """The events of a whole run, which are made as they are read; the result is what its reader gets.

        Close `events` however the reading ends, as `contextlib.aclosing` does.
        """
        return events

    async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
        """Before the model takes a turn; the result says how it samples."""
        return sampling

    async def after_model(self, run: Run[Any]) -> None:
        """After a turn of the model, which is in the transcript; `run.call` is the call that ended it."""

    async def before_tool(self, run: Run[Any], call: Call) -> Call:
        """Before a tool is called; the result is what is called, and what approval is asked for.

        The transcript keeps the call as it was sampled. A ToolError is the answer that the model reads.
        """
        return call

    async def after_tool(self, run: Run[Any], call: Call, answer: Answer) -> Answer:
        """After a tool has answered; the result is what the model reads."""
        return answer


@dataclass(frozen=True)
class Finding:
    """What a monitor found in the reasoning; with `stop` it ends the run."""

    reason: str
    stop: bool = False


class ReasoningMonitor(Protocol):
    """Reads the reasoning of one run as it streams."""

    def read(self, delta: str) -> Finding | None:
        """Judge the reasoning so far, of which `delta` is what came last.

        It is called in the loop, before the event of the delta: keep it fast, and let a slow judge work in
        a task of its own whose finding a later call returns.
        """
