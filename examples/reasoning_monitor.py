"""A monitor of the reasoning: it reads what the model thinks while it thinks, and flags or stops the run.

    python examples/reasoning_monitor.py --stop "use python" "What is 48 * 37?"
    python examples/reasoning_monitor.py --flag "do(es)? not know" "Write a poem."

The reasoning itself is shown to nobody. What you look for is a regular expression here, and could be a
classifier; it tells of trouble early, but a model does not say all that it does: let approval and the sandbox
hold what must not happen. Exit status 1 if the run was stopped.
"""

import argparse
import asyncio
import re
import sys
from functools import partial

from harmony.agent import Agent, Finding, Flagged, TextDelta
from harmony.tools import Python

LONGEST = 200  # characters that a match may have


class WordMonitor:
    """Flags, or stops, a run whose reasoning matches a pattern; each pattern counts once a run."""

    def __init__(self, flag: str | None, stop: str | None) -> None:
        wanted = ((stop, True), (flag, False))
        self._left = [(re.compile(pattern, re.IGNORECASE), stops) for pattern, stops in wanted if pattern]
        self._recent = ""

    def read(self, delta: str) -> Finding | None:
        self._recent = (self._recent + delta)[-LONGEST - len(delta) :]
        for pattern, stops in self._left:
            if match := pattern.search(self._recent):
                self._left.remove((pattern, stops))
                return Finding(f"the model thought of {match[0]!r}", stop=stops)
        return None


async def watch(agent: Agent, prompt: str) -> bool:
    """Print the answer and the findings; whether the run was stopped."""
    run = agent.stream(prompt)
    async for event in run:
        if isinstance(event, TextDelta):
            print(event.text, end="", flush=True)
        elif isinstance(event, Flagged):
            print(f"[{'stopped' if event.stop else 'flagged'}: {event.reason}]", file=sys.stderr)
    print()
    return run.result.stop_reason == "monitor"


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompt")
    parser.add_argument("--flag", metavar="PATTERN", help="a regular expression that flags a run")
    parser.add_argument("--stop", metavar="PATTERN", help="a regular expression that stops it")
    options = parser.parse_args()
    monitor = partial(WordMonitor, options.flag, options.stop)
    async with Agent("tiny", tools=[Python()], monitor=monitor) as agent:
        return int(await watch(agent, options.prompt))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
