"""`python -m harmony.agent trace`: a recorded run as a page, or again."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from harmony import load_encoding
from harmony.agent.plain import JsonLines, Plain
from harmony.agent.replay import replay
from harmony.agent.terminal import show
from harmony.agent.trace_format import TracedRun, read_trace
from harmony.agent.trace_view import view_of
from harmony.command_line import Parser
from harmony.errors import UsageError
from harmony.printable import printable

_EXAMPLES = """\
examples:
  python -m harmony.agent trace view run.jsonl           the last run of the file as a page, run.html
  python -m harmony.agent trace replay run.jsonl         the last run of the file
  python -m harmony.agent trace replay --json run.jsonl  its events as JSON lines

exit status: 0 answered, 1 ended by a limit, 2 an error, 130 interrupted, 141 nobody read the output."""


def run(arguments: Sequence[str]) -> int:
    """Run the command; the result is its exit status. Raises UsageError and TraceError."""
    options = parser().parse_args(arguments)
    return _view(options) if options.command == "view" else _replay(options)


def parser() -> argparse.ArgumentParser:
    """The command line of `trace`."""
    p = Parser(
        prog="python -m harmony.agent trace",
        description="Show a run that --trace recorded.",
        epilog=_EXAMPLES,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="view|replay")
    page = commands.add_parser(
        "view", help="write the run as one HTML file: text, tokens and messages, linked"
    )
    page.add_argument("--out", metavar="FILE", help="the page (RUN with the ending .html)")
    again = commands.add_parser("replay", help="the run again, on its recorded tokens and tool results")
    again.add_argument("--show-reasoning", action="store_true", help="show the model's reasoning, too")
    again.add_argument("--json", action="store_true", help="print every event as a line of JSON")
    for command in (page, again):
        command.add_argument("file", metavar="RUN", help="the file of --trace")
        command.add_argument("--run", metavar="ID", help="which run of the file (the last)")
    return p


def _view(options: argparse.Namespace) -> int:
    page = view_of(_recorded(options), load_encoding())
    out = Path(options.out or Path(options.file).with_suffix(".html"))
    if out == Path(options.file):
        raise UsageError(f"{out} is the trace itself; name the page with --out")
    try:
        out.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}; choose another --out") from None
    print(printable(str(out)))
    return 0


def _replay(options: argparse.Namespace) -> int:
    run = replay(_recorded(options))
    view: type[JsonLines | Plain] = JsonLines if options.json else Plain
    asyncio.run(show(run, view(show_reasoning=options.show_reasoning)))
    return 0 if run.stop_reason == "answer" else 1


def _recorded(options: argparse.Namespace) -> TracedRun:
    """The run that is meant."""
    runs = read_trace(options.file, load_encoding())
    found = [run for run in runs if options.run in (None, run.line.run)]
    if not runs:
        raise UsageError(f"{options.file} has no run that was written whole; record one with --trace")
    if not found:
        there = ", ".join(run.line.run for run in runs)
        raise UsageError(f"{options.file} has no run {options.run}; there are: {there}")
    return found[-1]
