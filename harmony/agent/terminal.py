"""The terminal that a command runs on: which view fits it, a run shown there, a question to its user."""

import argparse
import asyncio
import os
import sys
import termios
from typing import TypeVar

from rich.console import Console

from harmony.agent.plain import JsonLines, Plain, View
from harmony.agent.run import Run
from harmony.agent.screen import Screen
from harmony.printable import printable
from harmony.runtime.generation import TokenEngine

T = TypeVar("T")


def view_of(options: argparse.Namespace, engine: TokenEngine) -> View:
    """The view that the options ask for: panes and moving lines where all of it is on a terminal."""
    if options.json:
        return JsonLines(show_reasoning=options.show_reasoning)
    if sys.stdout.isatty() and sys.stderr.isatty() and Console(stderr=True).is_interactive:
        return Screen(engine, show_reasoning=options.show_reasoning, asks=options.ask)
    return Plain(show_reasoning=options.show_reasoning)


async def show(run: Run[T], view: View) -> None:
    """Show a run from its first event to its last; it is closed then, whatever happens."""
    view.begin()
    try:
        async for event in run:
            view.show(event)
    finally:
        try:
            await run.aclose()
        finally:
            view.end(run)


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
