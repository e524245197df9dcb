"""The chat: its commands, what they keep, and what they refuse."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import __main__ as command
from harmony.errors import ModelNotFoundError

ENCODING = load_encoding()
ANSWERS = [f"<|channel|>final<|message|>Answer {number}.<|return|>" for number in range(1, 9)]


class Typed(io.StringIO):
    """Standard input of a terminal."""

    def isatty(self) -> bool:
        return True


Talk = Callable[..., tuple[list[str], str, str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Talk:
    """Types lines into a chat; gives the prompts of the model, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    engines: list[Scripted] = []

    def load(model: str, **_: object) -> Scripted:
        if model == "absent":
            raise ModelNotFoundError("there is no model 'absent'")
        engines.append(Scripted(*ANSWERS))
        engines[-1].name = model
        return engines[-1]

    def typed(*lines: str) -> tuple[list[str], str, str]:
        engines.clear()
        monkeypatch.setattr(command, "load_engine", load)
        monkeypatch.setattr("sys.stdin", Typed("".join(f"{line}\n" for line in lines)))
        assert command.main(["--tools", "none"]) == 0
        assert all(engine.closed for engine in engines)
        out, err = capsys.readouterr()
        return [ENCODING.decode(prompt) for engine in engines for prompt in engine.prompts], out, err

    return typed


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
    assert err.count("there is nothing to take back") == 1


def test_a_saved_conversation_goes_on(talk: Talk, tmp_path: Path) -> None:
    """In another process too: the tokens are those that were saved, and saving again replaces them."""
    talk("One?", "/save talk.json", "Two?", "/save talk.json")
    prompts, _, err = talk("/resume talk.json", "Three?")
    assert all(
        text in prompts[0] for text in ("One?", "Answer 1.<|end|>", "Two?", "Answer 2.<|end|>", "Three?")
    )
    assert "5 messages" in err
    assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]


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
        ("/save", "name a file"),
        ("/save talk.json", "nothing to save"),
        ("/resume", "name a file"),
        ("/resume absent.json", "absent.json cannot be read"),
        ("/resume notes.txt", "not a saved transcript"),
        ("/undo", "nothing to take back"),
        ("/tools hammer", "there is no tool 'hammer'"),
        ("/reasoning extreme", "low, medium or high"),
        ("/help", "/resume FILE"),
        ("/\x1b[2J", "<U+001B>"),
    ],
)
def test_a_command_that_fails_is_told_and_the_chat_goes_on(talk: Talk, line: str, says: str) -> None:
    """Nothing is asked, nothing is lost."""
    Path("notes.txt").write_text("mine")
    prompts, out, err = talk(line, "One?")
    assert says in err
    assert len(prompts) == 1
    assert "Answer 1." in out
    assert "\x1b" not in err


def test_a_file_of_something_else_is_not_overwritten(talk: Talk) -> None:
    """/save replaces only what it wrote."""
    Path("notes.txt").write_text("mine")
    _, _, err = talk("One?", "/save notes.txt", "/save nowhere/talk.json")
    assert "not a saved transcript" in err
    assert "cannot be written" in err
    assert Path("notes.txt").read_text() == "mine"
