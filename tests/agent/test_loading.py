"""What a command says of the engine that it loads."""

import pytest

from harmony.agent.loading import engine_of
from harmony.agent.options import parser
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
