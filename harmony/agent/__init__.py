"""Agents on gpt-oss models: the loop, its events and its limits."""

from harmony.agent.agent import Agent
from harmony.agent.events import (
    CommentaryDelta,
    Event,
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
from harmony.agent.run import Limits, Run, RunResult

__all__ = [
    "Agent",
    "CommentaryDelta",
    "Event",
    "Limits",
    "Notice",
    "ReasoningDelta",
    "Repaired",
    "Run",
    "RunFinished",
    "RunResult",
    "StopReason",
    "TextDelta",
    "ToolCalled",
    "ToolReturned",
    "Usage",
]
