"""Agents on gpt-oss models: the loop, its events and its limits.

A name loads its module when it is first used, so that a command can be interrupted while they load.
"""

from typing import TYPE_CHECKING

from harmony.lazy import from_homes

if TYPE_CHECKING:
    from harmony.agent.agent import Agent
    from harmony.agent.agent_tool import AgentTool
    from harmony.agent.calls import Call
    from harmony.agent.events import (
        ApprovalRequested,
        CommentaryDelta,
        Event,
        Flagged,
        Notice,
        ReasoningDelta,
        Repaired,
        RunFinished,
        StopReason,
        TextDelta,
        ToolCalled,
        ToolReturned,
        Usage,
    )
    from harmony.agent.hooks import Finding, Hooks, ReasoningMonitor
    from harmony.agent.retries import Retries
    from harmony.agent.routing import Answer
    from harmony.agent.run import Limits, Run, RunOptions, RunResult
    from harmony.agent.session import Decided, Session
    from harmony.agent.session_store import SessionInfo, SessionStore

__all__ = [
    "Agent",
    "AgentTool",
    "Answer",
    "ApprovalRequested",
    "Call",
    "CommentaryDelta",
    "Decided",
    "Event",
    "Finding",
    "Flagged",
    "Hooks",
    "Limits",
    "Notice",
    "ReasoningDelta",
    "ReasoningMonitor",
    "Repaired",
    "Retries",
    "Run",
    "RunFinished",
    "RunOptions",
    "RunResult",
    "Session",
    "SessionInfo",
    "SessionStore",
    "StopReason",
    "TextDelta",
    "ToolCalled",
    "ToolReturned",
    "Usage",
]

_HOMES = {
    "Agent": "agent",
    "AgentTool": "agent_tool",
    "Answer": "routing",
    "ApprovalRequested": "events",
    "Call": "calls",
    "CommentaryDelta": "events",
    "Decided": "session",
    "Event": "events",
    "Finding": "hooks",
    "Flagged": "events",
    "Hooks": "hooks",
    "Limits": "run",
    "Notice": "events",
    "ReasoningDelta": "events",
    "ReasoningMonitor": "hooks",
    "Repaired": "events",
    "Retries": "retries",
    "Run": "run",
    "RunFinished": "events",
    "RunOptions": "run",
    "RunResult": "run",
    "Session": "session",
    "SessionInfo": "session_store",
    "SessionStore": "session_store",
    "StopReason": "events",
    "TextDelta": "events",
    "ToolCalled": "events",
    "ToolReturned": "events",
    "Usage": "events",
}

__getattr__ = from_homes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
