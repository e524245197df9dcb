"""`python -m harmony.agent`: one answer, or a chat."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress

from harmony.agent import trace_command
from harmony.agent.agent import Agent
from harmony.agent.options import output_of_options, parser, sampling_of, server_of, tools_of
from harmony.agent.output import Format
from harmony.agent.run import Limits, Run
from harmony.agent.shell import completion
from harmony.agent.terminal import JsonLines, Plain, View, confirm, show
from harmony.errors import ContextLengthError, HarmonyError, UsageError
from harmony.printable import printable
from harmony.runtime.generation import TokenEngine
from harmony.runtime.models import load_engine
from harmony.tools.python import Python, doctor
from harmony.tools.tool import Tool
from harmony.transcript import Transcript

Ask = Callable[[str, Transcript | None], Run[Any]]

ANSWERED, NO_ANSWER, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if len(given) > 1 and given[0] == "trace":
            return trace_command.main(given[1:])
        return _run(parser().parse_args(given))
    except HarmonyError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return NO_ANSWER


def _run(options: argparse.Namespace) -> int:
    if options.doctor:
        return _doctor()
    if options.completion:
        print(completion(parser(), options.completion), end="")
        return ANSWERED
    if options.ask and not sys.stdin.isatty():
        raise UsageError("--ask needs a terminal to ask on")
    prompt = options.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise UsageError('the prompt is empty: ask something, as in python -m harmony.agent "What is 2 + 2?"')
    output_type = output_of_options(options)
    with asyncio.Runner() as runner, _servers(runner, options.mcp) as tools:
        return _answer(runner, _agent(options, tools), options, output_type, prompt)


def _answer(
    runner: asyncio.Runner,
    agent: Agent,
    options: argparse.Namespace,
    output_type: type[object] | Format | None,
    prompt: str | None,
) -> int:
    def ask(prompt: str, transcript: Transcript | None = None) -> Run[Any]:
        choice: str = options.tool_choice
        if output_type is None:
            return agent.stream(prompt, tool_choice=choice, transcript=transcript)
        return agent.stream(prompt, output_type=output_type, tool_choice=choice, transcript=transcript)

    if options.model == "tiny":
        Console(stderr=True).print(
            "tiny is a demonstration: it does sums with python, and little else", style="dim"
        )
    view: View = JsonLines() if options.json else Plain(show_reasoning=options.show_reasoning)
    try:
        if prompt is None:
            return _chat(runner, ask, view)
        run = ask(prompt)
        runner.run(show(run, view))
        if run.stop_reason != "answer":
            return NO_ANSWER
        _ = run.result.output
        return ANSWERED
    finally:
        runner.run(agent.aclose())


def _doctor() -> int:
    """Print what confines the python tool here; it has failed where nothing does."""
    print(doctor.INTRODUCTION)
    status = FAILED
    for finding in doctor.examine():
        print(finding, flush=True)
        status = ANSWERED if finding.confines else status
    return status


@contextmanager
def _servers(runner: asyncio.Runner, commands: Sequence[str]) -> Iterator[list[Tool]]:
    """The tools of MCP servers, which live as long as the block."""
    stack = AsyncExitStack()
    tools: list[Tool] = []
    try:
        for server in map(server_of, commands):
            runner.run(stack.enter_async_context(server))
            tools += server.tools
            for name, reason in server.left_out.items():
                print(printable(f"{server.name}: {name} is left out: {reason}"), file=sys.stderr)
        yield tools
    finally:
        runner.run(stack.aclose())


def _agent(options: argparse.Namespace, more: Sequence[Tool]) -> Agent:
    limits = Limits(turns=options.max_turns, tokens=options.max_tokens, seconds=options.timeout)
    tools = [*tools_of(options), *more]
    if (options.file or options.keep or options.sandbox) and not any(isinstance(t, Python) for t in tools):
        raise UsageError("--file, --keep and --sandbox are for python: add it to --tools")
    engine = _engine(options)
    return Agent(
        engine,
        tools=tools,
        instructions=options.instructions,
        reasoning=options.reasoning,
        sampling=sampling_of(options, engine.default_sampling),
        limits=limits,
        approve=confirm if options.ask else None,
        trace=options.trace,
    )


def _engine(options: argparse.Namespace) -> TokenEngine:
    """The engine, loaded with a progress bar when standard error is a terminal."""
    console = Console(stderr=True)
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    bar = bars.add_task(f"loading {options.model}")

    def show(done: int, total: int) -> None:
        bars.start()
        bars.update(bar, completed=done, total=total)

    try:
        return load_engine(
            options.model,
            device=options.device,
            context_length=options.context,
            api_key=os.environ.get("HARMONY_API_KEY"),
            progress=show,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        bars.stop()


def _chat(runner: asyncio.Runner, ask: Ask, view: View) -> int:
    """Ctrl-C stops an answer and keeps what was said; at the prompt it leaves, as Ctrl-D does."""
    transcript: Transcript | None = None
    print("Ask away; Ctrl-D leaves.", file=sys.stderr)
    while True:
        try:
            prompt = input("> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return ANSWERED
        if not prompt.strip():
            continue
        run = ask(prompt, transcript)
        try:
            runner.run(show(run, view))
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
        except ContextLengthError as error:
            print(f"{error}; this question was left out", file=sys.stderr)
            continue
        transcript = run.transcript


if __name__ == "__main__":
    sys.exit(main())
