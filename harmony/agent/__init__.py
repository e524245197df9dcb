"""Agents on gpt-oss models: the loop, its events and its limits."""

from harmony.agent.agent import Agent
from harmony.agent.agent_tool import AgentTool
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
from harmony.agent.run import Limits, Run, RunOptions, RunResult
from harmony.agent.session import Decided, Session
from harmony.agent.session_store import SessionInfo, SessionStore

__all__ = [
    "Agent",
    "AgentTool",
    "ApprovalRequested",
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
