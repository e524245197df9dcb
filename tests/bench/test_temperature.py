"""The hot runs as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("temperature.py")


def test_hot_runs_are_valid() -> None:
    """A few seeded runs have no malformed turn and no answer beside its type."""
    command = [sys.executable, str(COMMAND), "--runs", "12", "--seed", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("0 problems in 12 runs")
