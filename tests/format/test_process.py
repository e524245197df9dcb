"""Every command ends well, whatever its standard streams are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import Scripted

from harmony.agent import Agent

FULL = "error: standard output cannot be written (No space left on device); send it elsewhere\n"
CLOSED = "error: standard output cannot be written (Bad file descriptor); send it elsewhere\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run, and two texts."""
    folder = tmp_path_factory.mktemp("process")
    Agent(Scripted("<|channel|>final<|message|>Hi.<|return|>"), trace=folder / "run.jsonl").run_sync("Hello")
    (folder / "text.txt").write_text("Hello world\n")
    (folder / "long.txt").write_text("Hi " * 100_000)
    return folder


def run(folder: Path, streams: str, *command: str, **options: object) -> tuple[int, str]:
    """The exit status of a command, and what it says on standard error; `streams` is of the shell's words."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, *command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    return done.returncode, done.stderr


COMMANDS = [
    ["-m", "harmony", "tokens", "--json", "text.txt"],
    ["-m", "harmony", "tokens", "--json", "long.txt"],
    ["-m", "harmony", "--help"],
    ["-m", "harmony.agent", "--completion", "bash"],
    ["-u", "-m", "harmony.agent", "trace", "replay", "--json", "run.jsonl"],
    ["-m", "harmony.agent", "trace", "view", "run.jsonl"],
    ["-m", "harmony.server", "--help"],
    ["-m", "harmony.runtime.bench", "--help"],
    ["-m", "harmony.tools.browser", "--help"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[1:4]))
def test_an_output_that_takes_nothing(folder: Path, command: list[str]) -> None:
    """A full one and a closed one are told in one line, with status 2; a reader that has gone, in none."""
    assert run(folder, ">/dev/full", *command) == (2, FULL)
    assert run(folder, ">&-", *command) == (2, CLOSED)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as unread:
        assert run(folder, "", *command, stdout=unread) == (141, "")


@pytest.mark.parametrize(
    "command",
    [["parse", "text.txt"], ["tokens", "missing.txt"]],
    ids=["told in colours", "told as an error"],
)
def test_a_reader_of_both_outputs_that_has_gone(folder: Path, command: list[str]) -> None:
    """What goes to standard error ends a command as what goes to standard output, as with `2>&1 | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as unread:
        assert run(folder, "2>&1", "-m", "harmony", *command, stdout=unread)[0] == 141
        assert run(folder, "2>&1 >/dev/null", "-m", "harmony", *command, stdout=unread)[0] == 141


INTERRUPTED = """
import os, runpy, signal, sys
_, command, module = sys.argv
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background lacks

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
runpy.run_module(command, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("harmony.agent", "harmony.agent.agent"),
        ("harmony.agent", "rich"),
        ("harmony.server", "harmony.agent.loading"),
        ("harmony.server", "harmony.server.command"),
    ],
)
def test_an_interruption_while_it_loads(folder: Path, command: str, module: str) -> None:
    """It ends as any interruption: with 130, and without a traceback."""
    assert run(folder, "", "-c", INTERRUPTED, command, module) == (130, "\n")


def test_an_answer_that_cannot_be_written(folder: Path) -> None:
    """A run with a model ends as other commands, its tools with it."""
    status, said = run(folder, ">/dev/full", "-m", "harmony.agent", "What is 2 + 2?")
    assert (status, said.splitlines(keepends=True)[-1]) == (2, FULL)


def test_an_input_that_is_closed(folder: Path) -> None:
    """It is an empty one, which no command is the better for; what needs none does not mind."""
    status, said = run(folder, "<&- >/dev/null", "-m", "harmony.agent")
    assert (status, said.startswith("error: the prompt is empty")) == (2, True)
    status, said = run(folder, "<&- >/dev/null", "-m", "harmony", "tokens", "text.txt")
    assert (status, said) == (0, "2 tokens, 0 of them special\n")


def test_streams_that_are_all_closed(folder: Path) -> None:
    """No file that is opened later takes their place."""
    status, _ = run(folder, "<&- 2>&- >&-", "-m", "harmony.agent", "trace", "view", "run.jsonl")
    assert status == 2
    assert "error:" not in (folder / "run.html").read_text()
