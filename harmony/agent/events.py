"""What a run tells while it goes on: one small frozen object an event, each with its `type`.

`event.model_dump_json()` is a line of the command's `--json` output.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from harmony.tools.citations import Citation

StopReason = Literal[
    "answer",
    "max_turns",
    "max_tool_calls",
    "max_tokens",
    "timeout",
    "context",
    "approval",
    "monitor",
    "hook",
]
"""Why a run ended: with an answer, at one of its limits, or by whom it was stopped or asked to wait."""


class Usage(BaseModel):
    """Tokens of a run, and of the runs that its tools have begun.

    `cached_tokens` of the prompts were not computed again.
    """

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens - other.prompt_tokens,
            cached_tokens=self.cached_tokens - other.cached_tokens,
            completion_tokens=self.completion_tokens - other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens - other.reasoning_tokens,
        )


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReasoningDelta(_Event):
    """More of the model's reasoning, which is not meant for the end user."""

    type: Literal["reasoning_delta"] = "reasoning_delta"
    text: str


class CommentaryDelta(_Event):
    """More of a preamble: what the model tells the user between tool calls."""

    type: Literal["commentary_delta"] = "commentary_delta"
    text: str


class TextDelta(_Event):
    """More of the answer; a citation comes whole, in one of them."""

    type: Literal["text_delta"] = "text_delta"
    text: str


class Flagged(_Event):
    """The reasoning monitor found something; with `stop` the run ends here."""

    type: Literal["flagged"] = "flagged"
    reason: str
    stop: bool


class ToolCalled(_Event):
    """A complete call, before the tool runs; `arguments` is the text as sampled."""

    type: Literal["tool_call"] = "tool_call"
    tool: str
    arguments: str


class ApprovalRequested(_Event):
    """The call waits for a decision: the run ends here, and goes on after it."""

    type: Literal["approval_requested"] = "approval_requested"
    tool: str
    arguments: str


class ToolReturned(_Event):
    """What the tool answered, as the model reads it."""

    type: Literal["tool_result"] = "tool_result"
    tool: str
    output: str
    error: bool
    seconds: float


class Repaired(_Event):
    """The model sampled something malformed; `assumed` says how it was read."""

    type: Literal["repaired"] = "repaired"
    problem: str
    assumed: str


class Notice(_Event):
    """Something that the user should know, in one line."""

    type: Literal["notice"] = "notice"
    text: str


class RunFinished(_Event):
    """The last event. `text` is the answer, or what there was of it when `stop_reason` cut it off.

    `closed` says that a limit ended the run and that the answer was brought to a valid end all the same;
    `citations` are those in the text that name a page which a tool has displayed.
    """

    type: Literal["run_finished"] = "run_finished"
    text: str
    stop_reason: StopReason
    turns: int
    usage: Usage
    citations: tuple[Citation, ...] = ()
    closed: bool = False


Event = Annotated[
    ReasoningDelta
    | CommentaryDelta
    | TextDelta
    | Flagged
    | ToolCalled
    | ApprovalRequested
    | ToolReturned
    | Repaired
    | Notice
    | RunFinished,
    Field(discriminator="type"),
]
"""What a run tells while it goes on; `type` says which it is."""
