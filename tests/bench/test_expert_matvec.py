"""The bench of the experts' matvec runs as a command, and both sides multiply what they are said to."""

import subprocess
import sys
from pathlib import Path

import ggml

COMMAND = Path(__file__).with_name("expert_matvec.py")


def test_both_sides_are_right() -> None:
    """Our error is that of float32, and llama.cpp's that of vectors in eight bits."""
    library = ggml.found(("xllamacpp",))
    assert library is not None
    command = [sys.executable, str(COMMAND), "--ggml", str(library), "--matrices", "2", "--rounds", "1"]
    done = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs, last = done.stdout.splitlines()[-3:]
    assert float(ours.split()[-1]) < 1e-6
    assert 1e-4 < float(theirs.split()[-1]) < 2e-2
    assert last.startswith("times as fast: ")
