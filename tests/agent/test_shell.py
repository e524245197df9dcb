"""Completion in a shell: the scripts are ones that the shells take, and bash offers what fits."""

import shutil
import subprocess

import pytest

from harmony.agent import __main__ as command
from harmony.agent.options import parser
from harmony.agent.shell import SHELLS, completion


def offered(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = completion(parser(), "bash")
    script += f"\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
    script += '_harmony_agent; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_and_is_one(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--completion prints it and loads no model; a shell that is here finds no fault in it."""
    assert command.main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert "harmony-agent" in script
    assert "reasoning" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_offers_options_and_their_values() -> None:
    """Options that begin so, the choices of an option, and nothing for a free text."""
    assert offered("harmony-agent", "--show") == ["--show-reasoning"]
    assert offered("harmony-agent", "--reasoning", "") == ["low", "medium", "high"]
    assert offered("harmony-agent", "--reasoning", "h") == ["high"]
    assert offered("harmony-agent", "--instructions", "-") == []
    assert "harmony-agent" not in offered("harmony-agent", "--")
