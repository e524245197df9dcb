"""The bench of the constraint runs as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("constraint.py")


def test_every_figure_is_there() -> None:
    """A quick run prints a row for each figure of the goals."""
    command = [sys.executable, str(COMMAND), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("≤") + done.stdout.count("≥") == 8
