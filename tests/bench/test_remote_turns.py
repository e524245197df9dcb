"""The count of requests as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("remote_turns.py")


def test_who_is_told_needs_fewer() -> None:
    """A seeded run on each server."""
    command = [sys.executable, str(COMMAND), "--runs", "1", "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _, ours, llama, last = done.stdout.splitlines()
    assert last == "nothing is wrong with any turn"
    for line, name in ((ours, "our server"), (llama, "llama.cpp")):
        told, untold, _ = map(float, line.removeprefix(name).split())
        assert told < untold
