"""What a run looks like on a terminal, in a pipe, and as JSON lines.

Standard output carries the answer alone; the rest goes to standard error. What models and tools say is
data: its control characters are shown, never sent to the terminal.
"""

import argparse
import asyncio
import os
import sys
import termios
from typing import Protocol, TypeVar

from rich.console import Console
from rich.text import Text

from harmony.agent.events import (
    CommentaryDelta,
    Event,
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
from harmony.runtime.generation import TokenEngine

T = TypeVar("T")

_SHOWN_LINES = 12
_STOPPED = {
    "max_turns": "stopped: the limit of model turns was met (--max-turns)",
    "max_tokens": "stopped: the limit of tokens was met (--max-tokens)",
    "timeout": "stopped: the time was up (--timeout)",
    "context": "stopped: the model's context is full",
}


class View(Protocol):
    """Something that shows the events of a run."""

    def show(self, event: Event) -> None:
        """Show one event as it happens."""


async def show(run: Run[T], view: View) -> None:
    """Show a run from its first event to its last; it is closed then, whatever happens."""
    try:
        async for event in run:
            view.show(event)
    finally:
        await run.aclose()


def view_of(options: argparse.Namespace, engine: TokenEngine) -> View:
    """The view that the options ask for, on what standard output and standard error are."""
    return JsonLines() if options.json else Plain(show_reasoning=options.show_reasoning)


class JsonLines:
    """Every event as one line of JSON on standard output."""

    def show(self, event: Event) -> None:
        print(event.model_dump_json(), flush=True)


class Plain:
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
            case ToolCalled():
                self._continue(None)
                self._dim(f"▸ {event.tool}  {event.arguments}")
            case ToolReturned():
                self._dim("  " + "\n  ".join(_shortened(event.output)))
            case Repaired():
                self._continue(None)
                self._dim(f"(malformed output repaired: {event.problem}; {event.assumed})")
            case Notice():
                self._continue(None)
                self._dim(f"({event.text})")
            case RunFinished():
                self._continue(None)
                for source in _sources(event):
                    self._dim(source)
                if event.stop_reason != "answer":
                    ended = "; the answer was brought to a valid end" if event.closed else ""
                    self._aside.print(Text(_STOPPED[event.stop_reason] + ended, style="yellow"))

    def _continue(self, kind: type[Event] | None) -> None:
        """End the line of another kind of text, if one is open."""
        if self._open_line not in (None, kind):
            stream = sys.stdout if self._open_line is TextDelta else self._aside.file
            print(file=stream, flush=True)
        self._open_line = kind

    def _dim(self, text: str, end: str = "\n") -> None:
        self._aside.print(Text(printable(text), style="dim"), end=end)


async def confirm(tool: str, arguments: str) -> bool:
    """Ask on the terminal, where the call was shown, whether it may run; only y or yes lets it."""
    terminal = sys.stdin.fileno()
    termios.tcflush(terminal, termios.TCIFLUSH)  # what was typed before the question is no answer
    print(f"run {printable(tool)}? [y/N] ", end="", file=sys.stderr, flush=True)
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(terminal, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(terminal)
    return os.read(terminal, 4096).strip().lower() in (b"y", b"yes")


def _shortened(output: str) -> list[str]:
    lines = output.rstrip("\n").split("\n")
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], f"… {len(lines) - _SHOWN_LINES} more lines"]


def _sources(event: RunFinished) -> list[str]:
    """What the citations stand for, as in `【1†L3-L5】 Title, local:///page.md, lines 3-5`; each once."""
    sources = []
    for citation in event.citations:
        source = f"{event.text[citation.start : citation.end]} {citation.title}, {citation.url}"
        if citation.lines is not None:
            first, last = citation.lines
            source += f", line {first}" if first == last else f", lines {first}-{last}"
        sources.append(source)
    return list(dict.fromkeys(sources))
