"""The bench of sessions runs as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("sessions.py")


def test_it_prints_what_a_turn_costs() -> None:
    """A quick run has a row of figures above 0."""
    command = [sys.executable, str(COMMAND), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    turns, cpu, median, mean, worst, opened = map(float, done.stdout.splitlines()[1].split())
    assert turns == 10
    assert 0 < median <= worst
    assert min(cpu, mean, opened) > 0
