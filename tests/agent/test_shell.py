"""Completion in a shell: the shells take the scripts, and offer what fits."""

import os
import pty
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from harmony.agent import __main__ as command
from harmony.agent import trace_command
from harmony.agent.options import parser
from harmony.agent.shell import SHELLS, completion


def offered(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = completion(parser(), trace_command.parser(), "bash")
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


def test_bash_offers_what_trace_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word itself where it may stand, what it can do, and the options and file of each of these."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.jsonl").touch()
    assert offered("harmony-agent", "tr") == ["trace"]
    assert offered("harmony-agent", "--json", "tr") == []
    assert offered("harmony-agent", "trace", "") == ["view", "replay"]
    assert offered("harmony-agent", "trace", "view", "--") == ["--help", "--out", "--run"]
    assert offered("harmony-agent", "trace", "replay", "--sh") == ["--show-reasoning"]
    assert offered("harmony-agent", "trace", "replay", "--json", "ru") == ["run.jsonl"]
    assert offered("harmony-agent", "trace", "view", "--run", "ru") == []


def test_fish_offers_options_and_their_values(tmp_path: Path) -> None:
    """With their help; a file where one is taken, as fish itself completes the line."""
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    script = tmp_path / "harmony-agent.fish"
    script.write_text(completion(parser(), trace_command.parser(), "fish"))
    (tmp_path / "order.json").touch()

    def offered(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", "source harmony-agent.fish; complete -C $argv[1]", line],
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return [row.partition("\t")[0] for row in done.stdout.splitlines()]

    assert offered("harmony-agent --show") == ["--show-reasoning"]
    assert sorted(offered("harmony-agent --reasoning ")) == ["high", "low", "medium"]
    assert offered("harmony-agent --schema ord") == ["order.json"]
    assert offered("harmony-agent --instructions ord") == []
    assert offered("harmony-agent tr") == ["trace"]
    assert sorted(offered("harmony-agent trace ")) == ["replay", "view"]
    assert sorted(offered("harmony-agent trace view --")) == ["--help", "--out", "--run"]
    assert offered("harmony-agent trace replay --json ord") == ["order.json"]
    assert offered("harmony-agent trace view --run ord") == []


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("harmony-agent --show", "--show-reasoning"),
        ("harmony-agent --reasoning h", "--reasoning high"),
        ("harmony-agent --schema ord", "--schema order.json"),
        ("harmony-agent tr\tv\tord", "trace view order.json"),
        ("harmony-agent trace replay --sh", "trace replay --show-reasoning"),
    ],
)
def test_zsh_completes_what_is_typed(typed: str, taken: str, tmp_path: Path) -> None:
    """On a terminal, for a user who has set up no completion before: an option, a value, a file."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "harmony-agent.zsh").write_text(completion(parser(), trace_command.parser(), "zsh"))
    (tmp_path / "order.json").touch()
    ours, terminal = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    lines = ["harmony-agent() { print -r -- $@ > taken; exit }", "source harmony-agent.zsh", f"{typed}\t"]
    os.write(ours, "".join(f"{line}\n" for line in lines).encode())
    with suppress(OSError):  # what a terminal gives when its last program has gone
        while os.read(ours, 4096):
            pass
    os.close(ours)
    assert shell.wait() == 0
    assert (tmp_path / "taken").read_text().strip() == taken
