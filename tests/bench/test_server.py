"""The measurement of the server runs."""

import subprocess
import sys
from pathlib import Path


def test_the_measurement_runs() -> None:
    """A small one prints all of its figures."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    small = ["--streams", "2", "--rounds", "2"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
