"""`python -m harmony.agent`: one answer, or a chat."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress

from harmony.agent.agent import Agent
from harmony.agent.options import parser, sampling_of, tools_of
from harmony.agent.run import Limits, Run
from harmony.agent.terminal import JsonLines, Plain, View
from harmony.errors import ContextLengthError, HarmonyError, UsageError
from harmony.runtime.generation import TokenEngine
from harmony.runtime.models import load_engine
from harmony.transcript import Transcript

ANSWERED, NO_ANSWER, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status."""
    try:
        options = parser().parse_args(arguments)
        return _run(options)
    except HarmonyError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return NO_ANSWER


def _run(options: argparse.Namespace) -> int:
    prompt = options.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise UsageError('the prompt is empty: ask something, as in python -m harmony.agent "What is 2 + 2?"')
    agent = _agent(options)
    if options.model == "tiny":
        Console(stderr=True).print(
            "tiny is a demonstration: it does sums with python, and little else", style="dim"
        )
    view: View = JsonLines() if options.json else Plain(show_reasoning=options.show_reasoning)
    with asyncio.Runner() as runner:
        try:
            if prompt is None:
                return _chat(runner, agent, view)
            run = agent.stream(prompt)
            runner.run(_show(run, view))
            return ANSWERED if run.stop_reason == "answer" else NO_ANSWER
        finally:
            runner.run(agent.aclose())


def _agent(options: argparse.Namespace) -> Agent:
    limits = Limits(turns=options.max_turns, tokens=options.max_tokens, seconds=options.timeout)
    tools = tools_of(options)
    engine = _engine(options)
    return Agent(
        engine,
        tools=tools,
        instructions=options.instructions,
        reasoning=options.reasoning,
        sampling=sampling_of(options, engine.default_sampling),
        limits=limits,
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


async def _show(run: Run, view: View) -> None:
    try:
        async for event in run:
            view.show(event)
    finally:
        await run.aclose()


def _chat(runner: asyncio.Runner, agent: Agent, view: View) -> int:
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
        run = agent.stream(prompt, transcript=transcript)
        try:
            runner.run(_show(run, view))
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
        except ContextLengthError as error:
            print(f"{error}; this question was left out", file=sys.stderr)
            continue
        transcript = run.transcript


if __name__ == "__main__":
    sys.exit(main())
