"""The bench of the agent runs as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("agent.py")


def test_every_figure_is_there() -> None:
    """A quick run prints a line for each: overhead, capacity of loops and agents, memory."""
    command = [sys.executable, str(COMMAND), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    starts = ("overhead a token: ", "200 bare loops: ", "200 agents: ", "memory, ")
    lines = done.stdout.splitlines()
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 4
