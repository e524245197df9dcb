"""What `python -m harmony.agent` does with its arguments: one answer, or a chat."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from io import TextIOWrapper
from typing import Any

from rich.console import Console

from harmony.agent import trace_command
from harmony.agent.agent import Agent
from harmony.agent.chat import Chat
from harmony.agent.kept import Sessions
from harmony.agent.loading import engine_of
from harmony.agent.options import output_of_options, parser, sampling_of, server_of, tools_of
from harmony.agent.output import Format
from harmony.agent.run import Limits, Run
from harmony.agent.session import Session
from harmony.agent.shell import completion
from harmony.agent.terminal import confirm, show, view_of
from harmony.errors import UsageError
from harmony.printable import printable
from harmony.process import FAILED
from harmony.runtime.generation import TokenEngine
from harmony.tools.python import Python, doctor
from harmony.tools.tool import Tool

ANSWERED, NO_ANSWER = 0, 1


def run(arguments: Sequence[str]) -> int:
    """Run the command; the result is its exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: no character ends a run
    if isinstance(sys.stdin, TextIOWrapper):  # a typed byte that is no character ends no chat
        sys.stdin.reconfigure(errors="replace" if sys.stdin.isatty() else "strict")
    if arguments[:1] == ["trace"]:
        return trace_command.run(arguments[1:])
    options = parser().parse_args(arguments)
    if options.doctor:
        return _doctor()
    if options.completion:
        print(completion(parser(), trace_command.parser(), options.completion), end="")
        return ANSWERED
    if options.ask and not sys.stdin.isatty():
        raise UsageError("--ask needs a terminal to ask on")
    prompt = options.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = _piped()
    if prompt is not None and not prompt.strip():
        raise UsageError('the prompt is empty: ask something, as in python -m harmony.agent "What is 2 + 2?"')
    output_type = output_of_options(options)
    with asyncio.Runner() as runner, _servers(runner, options.mcp) as tools, closing(Sessions()) as sessions:
        return _answer(runner, tools, options, output_type, prompt, sessions)


def _piped() -> str:
    """The prompt from standard input. Raises UsageError."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 (byte {error.start}); give it text") from None


def _answer(
    runner: asyncio.Runner,
    more: Sequence[Tool],
    options: argparse.Namespace,
    output_type: type[object] | Format | None,
    prompt: str | None,
    sessions: Sessions,
) -> int:
    def ask(agent: Agent, prompt: str | None, session: Session | None) -> Run[Any]:
        choice: str = options.tool_choice
        if output_type is None:
            return agent.stream(prompt, tool_choice=choice, session=session)
        return agent.stream(prompt, output_type=output_type, tool_choice=choice, session=session)

    def agent_of(options: argparse.Namespace, engine: TokenEngine) -> Agent:
        return _agent(options, [*_tools(options), *more], engine)

    session = None if options.session is None else sessions.store.session(options.session)
    tools = [*_tools(options), *more]  # before the model, as their mistakes are told sooner
    engine = engine_of(options)
    agent = _agent(options, tools, engine)
    if options.model == "tiny":
        Console(stderr=True).print(
            "tiny is a demonstration: it does sums with python, and little else",
            style="dim",
            highlight=False,
        )
    if prompt is None:
        chat = Chat(
            runner,
            options,
            engine,
            agent,
            sessions,
            session,
            ask=ask,
            engine_of=engine_of,
            agent_of=agent_of,
            view_of=view_of,
        )
        try:
            chat.talk()
            return ANSWERED
        finally:
            chat.close()
    try:
        run = ask(agent, prompt, session)
        runner.run(show(run, view_of(options, engine)))
        if run.stop_reason != "answer":
            return NO_ANSWER
        _ = run.result.output
        return ANSWERED
    finally:
        runner.run(agent.close_tools())
        runner.run(engine.aclose())


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


def _tools(options: argparse.Namespace) -> list[Tool]:
    tools = tools_of(options)
    if (options.file or options.keep or options.sandbox) and not any(isinstance(t, Python) for t in tools):
        raise UsageError("--file, --keep and --sandbox are for python: add it to --tools")
    return tools


def _agent(options: argparse.Namespace, tools: Sequence[Tool], engine: TokenEngine) -> Agent:
    return Agent(
        engine,
        tools=tools,
        instructions=options.instructions,
        reasoning=options.reasoning,
        sampling=sampling_of(options, engine.default_sampling),
        limits=Limits(turns=options.max_turns, tokens=options.max_tokens, seconds=options.timeout),
        approve=confirm if options.ask else None,
        trace=options.trace,
    )
