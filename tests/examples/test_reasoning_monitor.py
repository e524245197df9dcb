"""The example's monitor, on the bundled model and on reasoning that is cut anywhere."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "reasoning_monitor.py"
SAID = "First I look. Then I Cheat the user; nobody sees it."


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reasoning_monitor", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_stops_a_run() -> None:
    """The tiny model means to use python, and never does."""
    done = run("--stop", "use python", "What is 48 * 37?")
    assert (done.returncode, done.stdout) == (1, "\n")
    assert done.stderr == "[stopped: the model thought of 'use python']\n"


def test_it_flags_a_run() -> None:
    """The answer comes all the same; the reasoning is not shown."""
    done = run("--flag", "do(es)? not know", "Write a poem.")
    assert done.returncode == 0
    assert done.stdout.startswith("I don't know that.")
    assert done.stderr == "[flagged: the model thought of 'do not know']\n"


@given(st.lists(st.integers(0, len(SAID)), max_size=9).map(sorted))
def test_a_match_is_found_wherever_the_reasoning_is_cut(example: ModuleType, cuts: list[int]) -> None:
    """Once, and not before it is complete."""
    monitor = example.WordMonitor(None, "cheat the user")
    pieces = [SAID[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(SAID)], strict=True)]
    findings = [monitor.read(piece) for piece in pieces]
    assert [finding.stop for finding in findings if finding] == [True]
