"""What a run looks like in a pipe, and as JSON lines.

Standard output carries the answer alone; the rest goes to standard error. What models and tools say is
data: its control characters are shown, never sent to the terminal.
"""

import sys
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from harmony.agent.events import (
    ApprovalRequested,
    CommentaryDelta,
    Event,
    Flagged,
    Notice,
    ReasoningDelta,
    Repaired,
    RunFinished,
    TextDelta,
    ToolCalled,
    ToolReturned,
)
from harmony.agent.run import Run
from harmony.printable import printable

_SHOWN_LINES = 12
_STOPPED = {
    "max_turns": "stopped: the limit of model turns was met (--max-turns)",
    "max_tokens": "stopped: the limit of tokens was met (--max-tokens)",
    "timeout": "stopped: the time was up (--timeout)",
    "context": "stopped: the model's context is full",
    "max_tool_calls": "stopped: the limit of tool calls was met",
    "approval": "stopped: the call waits for a decision",
    "monitor": "stopped: the monitor of the reasoning ended the run",
    "hook": "stopped: a hook ended the run",
}


class View(Protocol):
    """Something that shows the events of a run."""

    def begin(self) -> None:
        """A run begins; nothing has come yet."""
        return

    def show(self, event: Event) -> None:
        """Show one event as it happens."""

    def end(self, run: Run[Any]) -> None:
        """The run is over, whatever ended it."""
        return


class JsonLines(View):
    """Every event as one line of JSON on standard output; those of the reasoning only when asked for."""

    def __init__(self, *, show_reasoning: bool) -> None:
        self._show_reasoning = show_reasoning

    def show(self, event: Event) -> None:
        if self._show_reasoning or not isinstance(event, ReasoningDelta):
            print(event.model_dump_json(), flush=True)


class Plain(View):
    """The answer as it streams, with tool calls dimmed above it."""

    def __init__(self, *, show_reasoning: bool) -> None:
        self._aside = Console(stderr=True, highlight=False, soft_wrap=True)
        self._show_reasoning = show_reasoning
        self._open_line: type[Event] | None = None

    def show(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._continue(TextDelta)
                sys.stdout.write(printable(event.text))
                sys.stdout.flush()
            case ReasoningDelta() if self._show_reasoning:
                self._continue(ReasoningDelta)
                self._dim(event.text, end="")
            case CommentaryDelta():
                self._continue(CommentaryDelta)
                self._aside.print(Text(printable(event.text)), end="")
            case Flagged():
                self._continue(None)
                self._dim(f"(the reasoning was flagged: {event.reason})")
            case ToolCalled() | ApprovalRequested():
                self._continue(None)
                self._dim(f"▸ {event.tool}  {event.arguments}")
            case ToolReturned():
                self._dim("  " + "\n  ".join(shortened(event.output)))
            case Repaired():
                self._continue(None)
                self._dim(f"(malformed output repaired: {event.problem}; {event.assumed})")
            case Notice():
                self._continue(None)
                self._dim(f"({event.text})")
            case RunFinished():
                self._continue(None)
                for source, url in _sources(event).items():
                    self._cite(source, url)
                if event.stop_reason != "answer":
                    ended = "; the answer was brought to a valid end" if event.closed else ""
                    self._aside.print(Text(_STOPPED[event.stop_reason] + ended, style="yellow"))

    def _continue(self, kind: type[Event] | None) -> None:
        """End the line of another kind of text, if one is open."""
        if self._open_line not in (None, kind):
            stream = sys.stdout if self._open_line is TextDelta else self._aside.file
            print(file=stream, flush=True)
        self._open_line = kind

    def _cite(self, source: str, url: str) -> None:
        self._dim(source)

    def _dim(self, text: str, end: str = "\n") -> None:
        self._aside.print(Text(printable(text), style="dim"), end=end)


def shortened(output: str) -> list[str]:
    """The lines of an output, the first of them where there are many."""
    lines = output.rstrip("\n").split("\n")
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], f"… {len(lines) - _SHOWN_LINES} more lines"]


def _sources(event: RunFinished) -> dict[str, str]:
    """The citations, as in `【1†L3-L5】 Title, local:///page.md, lines 3-5`, and where each leads."""
    sources = {}
    for citation in event.citations:
        source = f"{event.text[citation.start : citation.end]} {citation.title}, {citation.url}"
        if citation.lines is not None:
            first, last = citation.lines
            source += f", line {first}" if first == last else f", lines {first}-{last}"
        sources[source] = citation.url
    return sources
