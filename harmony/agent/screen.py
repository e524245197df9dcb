"""A run on a terminal: the answer streams, reasoning is one line that moves, tools stand in panes.

What is finished is printed once and scrolls away; only the line at the bottom is ever drawn again. Standard
output gets the answer alone here too.
"""

import time
from typing import Any

from rich.panel import Panel
from rich.status import Status
from rich.style import Style
from rich.text import Text

from harmony.agent.events import Event, ReasoningDelta, ToolCalled, ToolReturned
from harmony.agent.plain import Plain, shortened
from harmony.agent.run import Run
from harmony.printable import printable
from harmony.runtime.generation import TokenEngine

_LINKED = ("http://", "https://")


class Screen(Plain):
    """`asks` says that the user is asked before each call, so that nothing may move then."""

    def __init__(self, engine: TokenEngine, *, show_reasoning: bool, asks: bool) -> None:
        super().__init__(show_reasoning=show_reasoning)
        self._engine = engine
        self._asks = asks
        self._status: Status | None = None
        self._thinking_since: float | None = None
        self._begun = self._in_tools = 0.0

    def begin(self) -> None:
        self._begun, self._in_tools = time.monotonic(), 0.0
        self._move("reading")

    def end(self, run: Run[Any]) -> None:
        self._settle()
        self._continue(None)
        if run.usage.completion_tokens:
            self._dim(self._footer(run))

    def show(self, event: Event) -> None:
        if isinstance(event, ReasoningDelta) and not self._show_reasoning:
            self._think()
            return
        self._settle()
        match event:
            case ToolCalled():
                self._continue(None)
                self._pane(event.tool, [event.arguments], "cyan")
                if not self._asks:
                    self._move(f"running {event.tool}")
            case ToolReturned():
                self._in_tools += event.seconds
                self._pane(
                    f"{event.seconds:.1f} s", shortened(event.output), "red" if event.error else "green"
                )
                self._move("reading")
            case _:
                super().show(event)

    def _think(self) -> None:
        if self._thinking_since is None:
            self._settle()
            self._thinking_since = time.monotonic()
            self._move("thinking")

    def _settle(self) -> None:
        """Take the moving line away; of reasoning, what stays is how long it took."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._thinking_since is not None:
            self._dim(f"thought for {time.monotonic() - self._thinking_since:.1f} s")
            self._thinking_since = None

    def _move(self, doing: str) -> None:
        self._continue(None)
        line = Text(printable(doing), style="dim", no_wrap=True, overflow="ellipsis")
        self._status = Status(line, console=self._aside, spinner_style="dim")
        self._status.start()

    def _pane(self, title: str, lines: list[str], colour: str) -> None:
        body = Text(printable("\n".join(lines)), overflow="fold")
        pane = Panel(body, title=Text(printable(title)), title_align="left", border_style=colour)
        self._aside.print(pane, soft_wrap=False)

    def _cite(self, source: str, url: str) -> None:
        link = printable(url) if url.startswith(_LINKED) else None
        self._aside.print(Text(printable(source), Style(dim=True, link=link)))

    def _footer(self, run: Run[Any]) -> str:
        usage, context = run.usage, len(run.transcript.prompt)
        rate = usage.completion_tokens / (time.monotonic() - self._begun - self._in_tools)
        return (
            f"{usage.prompt_tokens} in ({usage.cached_tokens} cached) · {usage.completion_tokens} out · "
            f"{usage.reasoning_tokens} reasoning · {rate:.0f} tok/s · "
            f"context {context / self._engine.context_length:.0%}"
        )
