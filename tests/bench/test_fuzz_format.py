"""The long fuzz runs as a command."""

import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("fuzz_format.py")


def test_every_property_is_found_and_counted() -> None:
    """A short run reports each property with the number of its examples."""
    command = [sys.executable, str(COMMAND), "--examples", "26", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "passed: test_" in line]
    assert len(lines) == 13
    assert all("2 passing, 0 failing" in line for line in lines)
