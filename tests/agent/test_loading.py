"""What a command says of the engine that it loads."""

import subprocess
import sys

import pytest

from harmony.agent.loading import engine_of
from harmony.agent.options import parser
from harmony.kernels.cpu import level
from harmony.runtime.engine import Engine
from harmony.runtime.models import TINY


def test_one_line_says_what_computes_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every checkpoint, on standard error; of the demonstration nothing."""
    engine = engine_of(parser().parse_args(["--model", str(TINY), "--device", "cpu", "--context", "64"]))
    assert isinstance(engine, Engine)
    assert "on the CPU: " in engine.backend
    assert capsys.readouterr() == ("", f"tiny: {engine.backend}\n")
    engine_of(parser().parse_args(["--device", "cpu"]))
    assert capsys.readouterr() == ("", "")


def test_nothing_moves_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where FORCE_COLOR asks for colours in it, as it does where logs are kept."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    engine_of(parser().parse_args(["--device", "cpu"]))
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(level() == "torch", reason="no kernels are compiled")
def test_a_warm_start_imports_no_numba() -> None:
    """What is kept of the first answer's kernels computes the second without it."""
    command = (
        "-X",
        "importtime",
        "-m",
        "harmony.agent",
        "--tools",
        "none",
        "--device",
        "cpu",
        "--max-tokens",
        "2",
    )

    def imported() -> set[str]:
        done = subprocess.run([sys.executable, *command, "Hi"], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr  # the limit ended it
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    imported()
    assert {"torch", "llvmlite", "numba"} & imported() == {"torch", "llvmlite"}
