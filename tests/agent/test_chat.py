"""The chat: its commands, what they keep, and what they refuse."""

import io
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import SessionStore, loading
from harmony.agent import __main__ as command
from harmony.errors import ModelNotFoundError

ENCODING = load_encoding()
ANSWERS = [f"<|channel|>final<|message|>Answer {number}.<|return|>" for number in range(1, 9)]


CHILD = """
import asyncio, sys
from scripted import Scripted
from test_chat import ANSWERS
from harmony.agent import __main__ as command, loading

class Stalls(Scripted):
    async def generate(self, prompt, sampling, *, stop):
        async for token in super().generate(prompt, sampling, stop=stop):
            if len(self.prompts) == 2:
                print("stalled", flush=True)
                await asyncio.sleep(600)
            yield token

loading.load_engine = lambda *_, **options: Stalls(*ANSWERS)
command.main(["--tools", "none", "--session", "trip"])
"""


class Typed(io.StringIO):
    """Standard input of a terminal, where something may happen between two lines."""

    def __init__(self, *lines: str | Callable[[], None]) -> None:
        super().__init__()
        self._lines = iter(lines)

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        for line in self._lines:
            if isinstance(line, str):
                return f"{line}\n"
            line()
        return ""


Talk = Callable[..., tuple[list[str], str, str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Talk:
    """Types lines into a chat; gives the prompts of the model, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    engines: list[Scripted] = []

    def load(model: str, **_: object) -> Scripted:
        if model == "absent":
            raise ModelNotFoundError("there is no model 'absent'")
        engines.append(Scripted(*ANSWERS))
        engines[-1].name = model
        return engines[-1]

    def typed(*lines: str | Callable[[], None], options: Sequence[str] = ()) -> tuple[list[str], str, str]:
        engines.clear()
        monkeypatch.setattr(loading, "load_engine", load)
        monkeypatch.setattr("sys.stdin", Typed(*lines))
        assert command.main(["--tools", "none", *options]) == 0
        assert all(engine.closed for engine in engines)
        out, err = capsys.readouterr()
        return [ENCODING.decode(prompt) for engine in engines for prompt in engine.prompts], out, err

    return typed


def saved() -> SessionStore:
    return SessionStore(Path(os.environ["XDG_STATE_HOME"], "harmony", "sessions.db"))


def test_reset_begins_anew(talk: Talk) -> None:
    """The next prompt has nothing of what was said."""
    prompts, _, _ = talk("One?", "/reset", "Two?")
    assert "One?" in prompts[0]
    assert "One?" not in prompts[1]


def test_undo_takes_back_question_and_answer(talk: Talk) -> None:
    """One each time, as far back as the beginning."""
    prompts, _, err = talk("One?", "Two?", "/undo", "Three?", "/undo", "/undo", "/undo", "Four?")
    assert "One?" in prompts[2]
    assert "Two?" not in prompts[2]
    assert "Answer 2" not in prompts[2]
    assert "One?" not in prompts[3]
    assert "taken back: Two?" in err
    assert err.count("there is nothing to undo") == 1


def test_a_saved_conversation_goes_on(talk: Talk) -> None:
    """In another process too, with what was said after it was saved; only its user can read the file."""
    talk("One?", "/save trip", "Two?")
    prompts, _, err = talk("/resume trip", "Three?")
    assert all(
        text in prompts[0] for text in ("One?", "Answer 1.<|end|>", "Two?", "Answer 2.<|end|>", "Three?")
    )
    assert "trip: 5 messages; go on" in err
    with saved() as store:
        assert ENCODING.decode(store.open("trip").transcript.tokens) == (
            f"{prompts[0].removesuffix('<|start|>assistant')}<|start|>assistant{ANSWERS[0]}"
        )
    assert stat.S_IMODE(Path(os.environ["XDG_STATE_HOME"], "harmony", "sessions.db").stat().st_mode) == 0o600


def test_a_chat_begins_in_a_session(talk: Talk) -> None:
    """--session begins it, and the next time goes on with it; a single question can, too."""
    talk("One?", options=["--session", "trip"])
    talk(options=["--session", "trip", "Two?"])
    prompts, _, err = talk("Three?", options=["--session", "trip"])
    assert all(text in prompts[0] for text in ("One?", "Two?", "Three?"))
    assert "trip: 5 messages; go on" in err


def test_saved_conversations_are_listed(talk: Talk) -> None:
    """The one used last first, each with its first question, in lines that fit the terminal."""
    talk("One?", "/save first", "/reset", f"Two {'and more ' * 20}?", "/save second")
    _, _, err = talk("/resume")
    shown = [line for line in err.splitlines() if line.startswith(("first", "second"))]
    assert [line.split()[0] for line in shown] == ["second", "first"]
    assert shown[1].endswith("One?")
    assert all(len(line) < 80 for line in shown)


def test_a_conversation_that_is_saved_again_is_a_branch(talk: Talk) -> None:
    """What comes now is in the new one alone; a name that is taken is refused."""
    talk("One?", "/save first", "/save second", "Two?", "/save first")
    prompts, _, err = talk("/resume first", "Three?", "/save second", "/resume second", "Four?")
    assert "first: 3 messages" in err
    assert "there is a session 'second' already" in err
    assert "Two?" not in prompts[0]
    assert "Two?" in prompts[1]


def test_a_saved_conversation_is_deleted(talk: Talk) -> None:
    """But not the one that goes on; /reset leaves that, and keeps it."""
    _, _, err = talk("One?", "/save trip", "/delete trip", "/reset", "/delete trip", "/resume trip")
    assert "trip is this conversation" in err
    assert "trip is deleted" in err
    assert "there is no session 'trip'" in err


def test_undo_goes_back_before_the_chat(talk: Talk) -> None:
    """A conversation that was resumed is taken back question by question."""
    talk("One?", "Two?", "/save trip")
    prompts, _, _ = talk("/resume trip", "/undo", "Three?")
    assert "One?" in prompts[0]
    assert "Two?" not in prompts[0]


def test_what_another_chat_has_changed_is_not_overwritten(talk: Talk) -> None:
    """The question is refused before the model reads it; /resume takes over what the other said."""

    def undo_elsewhere() -> None:
        with saved() as store:
            store.open("trip").undo()

    prompts, _, err = talk("One?", "/save trip", undo_elsewhere, "Two?", "/resume trip", "Three?")
    assert "changed or deleted since it was opened; open it again" in err
    assert len(prompts) == 2
    assert not any(text in prompts[1] for text in ("One?", "Two?"))


def test_a_killed_chat_goes_on(talk: Talk) -> None:
    """Killed in its second answer, it has all before that, and /continue has the question answered."""
    ours, terminal = pty.openpty()
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "support")]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
    )
    os.close(terminal)
    os.write(ours, b"One?\nTwo?\n")
    assert child.stdout is not None
    shown = iter(child.stdout.readline, b"")
    assert any(b"stalled" in line for line in shown)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    os.close(ours)
    whole, _, _ = talk("One?", "Two?")
    prompts, _, err = talk("/continue", "Three?", options=["--session", "trip"])
    assert "the last question is not answered; /continue" in err
    assert prompts[0] == whole[1]
    assert prompts[1].startswith(prompts[0])


def test_lines_are_completed(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, names of saved conversations, levels; nothing for a question or another command."""
    found: list[Callable[[str], Sequence[str]]] = []
    monkeypatch.setattr(
        "harmony.agent.chat.read_history", lambda completions: found.append(completions) or str
    )
    offered: list[Sequence[str]] = []

    def complete(*typed: str) -> Callable[[], None]:
        return lambda: offered.extend(found[0](line) for line in typed)

    talk(
        "One?",
        "/save trip",
        "/save tour guide",
        complete("/re", "/resume t", "/delete tr", "/reasoning h", "/undo ", "", "Hi"),
    )
    assert offered == [
        ["/reset", "/resume", "/reasoning"],
        ["/resume tour guide", "/resume trip"],
        ["/delete trip"],
        ["/reasoning high", "/reasoning hide"],
        [],
        [],
        [],
    ]


def test_the_model_changes_and_the_conversation_stays(talk: Talk) -> None:
    """The new model reads what was said; one that is not there changes nothing."""
    prompts, _, err = talk("One?", "/model absent", "Two?", "/model other", "Three?", "/model")
    assert "there is no model 'absent'" in err
    assert all(text in prompts[2] for text in ("One?", "Two?", "Three?"))
    assert err.splitlines()[-2] == "other"


def test_reasoning_and_tools_begin_with_a_conversation(talk: Talk) -> None:
    """Before the first question at once, later after /reset, as the system message tells them."""
    prompts, _, err = talk(
        "/reasoning high", "One?", "/reasoning low", "/tools python", "Two?", "/reset", "Three?"
    )
    assert ["Reasoning: high" in prompt for prompt in prompts] == [True, True, False]
    assert ["# Tools" in prompt for prompt in prompts] == [False, False, True]
    assert "Reasoning: low" in prompts[2]
    assert err.count("/reset begins it") == 2


def test_reasoning_is_shown_and_hidden(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """/reasoning show and hide change what is seen, at once."""
    monkeypatch.setitem(
        globals(),
        "ANSWERS",
        ["<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + a for a in ANSWERS],
    )
    _, _, err = talk("One?", "/reasoning show", "Two?", "/reasoning hide", "Three?")
    assert err.count("Hm.") == 1


def test_lines_that_end_in_a_backslash_go_on(talk: Talk) -> None:
    """They are one question; a slash after a space is part of one."""
    prompts, _, _ = talk("One\\", "two\\", "three?", " /etc is what?")
    assert "One\ntwo\nthree?" in prompts[0]
    assert " /etc is what?" in prompts[1]
    assert len(prompts) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/dance", "there is no /dance; /help lists"),
        ("/save", "give it a name"),
        ("/save trip", "nothing to save"),
        ("/resume", "nothing is saved yet"),
        ("/resume absent", "there is no session 'absent'"),
        ("/delete", "name a saved conversation"),
        ("/delete absent", "there is no session 'absent'"),
        ("/undo", "nothing to undo"),
        ("/continue", "nothing to go on with"),
        ("/tools hammer", "there is no tool 'hammer'"),
        ("/reasoning extreme", "low, medium or high"),
        ("/help", "/resume NAME"),
        ("/\x1b[2J", "<U+001B>"),
    ],
)
def test_a_command_that_fails_is_told_and_the_chat_goes_on(talk: Talk, line: str, says: str) -> None:
    """Nothing is asked, nothing is lost."""
    prompts, out, err = talk(line, "One?")
    assert says in err
    assert len(prompts) == 1
    assert "Answer 1." in out
    assert "\x1b" not in err


def test_a_chat_without_a_place_for_sessions_goes_on(talk: Talk, tmp_path: Path) -> None:
    """What cannot be saved is told; with --session, before the model is loaded."""
    (tmp_path / "state").write_text("a file")
    prompts, _, err = talk("One?", "/save trip", "Two?")
    assert "no place for sessions" in err
    assert command.main(["--tools", "none", "--session", "trip", "Three?"]) == 2
    assert len(prompts) == 2
