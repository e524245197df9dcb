"""The command line: what goes where, exit statuses, and one clear line for every mistake."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import Scripted

from harmony.agent import __main__ as command
from harmony.agent import loading
from harmony.printable import printable

CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 40, "b": 2}<|call|>'
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"
THOUGHT = "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant"


class Typed(io.StringIO):
    """Standard input of a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scripted:
    """What the command loads, in a folder with a module of functions."""
    scripted = Scripted(THOUGHT + CALL, FINAL)
    monkeypatch.setattr(loading, "load_engine", lambda *_, **__: scripted)
    (tmp_path / "sums.py").write_text(
        'def add(a: int, b: int) -> int:\n    """The sum."""\n    return a + b\n'
    )
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.py").write_text("def add(:")
    (tmp_path / "lacking.py").write_text("import nowhere")
    (tmp_path / "leaving.py").write_text("raise SystemExit('usage:\\n...')")
    monkeypatch.chdir(tmp_path)
    return scripted


def test_standard_output_carries_only_the_answer(
    engine: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    """The call and its result are shown beside it, the reasoning is not."""
    assert command.main(["--tools", "sums:add", "What is 40 + 2?"]) == 0
    out, err = capsys.readouterr()
    assert out == "It is 42.\n"
    assert "functions.add" in err
    assert "42" in err
    assert "Easy." not in err
    assert engine.closed


def test_reasoning_is_shown_on_request(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """--show-reasoning puts it on standard error."""
    assert command.main(["--show-reasoning", "--tools", "sums:add", "?"]) == 0
    out, err = capsys.readouterr()
    assert "Easy." in err
    assert out == "It is 42.\n"


def test_json_prints_every_event_as_a_line(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an object with a type; the call carries its real output."""
    assert command.main(["--json", "--tools", "sums:add", "?"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["output"] for e in events if e["type"] == "tool_result"] == ["42"]
    assert events[-1]["type"] == "run_finished"
    assert events[-1]["text"] == "It is 42."


def test_json_has_the_reasoning_when_it_is_asked_for(
    engine: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever passes its lines on shows end users no reasoning by accident; a replay shows none either."""
    traced = ["--trace", "run.jsonl", "--tools", "sums:add", "?"]
    assert command.main(["--json", *traced]) == 0
    assert "Easy." not in capsys.readouterr().out
    for shown in ([], ["--show-reasoning"]):
        assert command.main(["trace", "replay", "--json", *shown, "run.jsonl"]) == 0
        said = "".join(
            event["text"]
            for event in map(json.loads, capsys.readouterr().out.splitlines())
            if event["type"] == "reasoning_delta"
        )
        assert ("Easy." in said) == bool(shown)


def test_tools_none_declares_none(engine: Scripted) -> None:
    """--tools none leaves no tool in the prompt."""
    command.main(["--tools", "none", "?"])
    with_tools = len(engine.prompts[0])
    engine.prompts.clear()
    command.main(["--tools", "python", "?"])
    assert len(engine.prompts[0]) > with_tools


def test_the_prompt_may_come_from_a_pipe(
    engine: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without PROMPT and without a terminal, standard input is the prompt."""
    monkeypatch.setattr("sys.stdin", io.StringIO("What is 40 + 2?\n"))
    assert command.main(["--tools", "sums:add"]) == 0
    assert capsys.readouterr().out == "It is 42.\n"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_pipe_that_is_no_text_is_a_mistake(
    engine: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], errors: str
) -> None:
    """What cannot be read as characters is told with its place, in the C locale too."""
    piped = io.TextIOWrapper(io.BytesIO(b"Hello \xff"), encoding="utf-8", errors=errors)
    monkeypatch.setattr("sys.stdin", piped)
    assert command.main([]) == 2
    assert capsys.readouterr().err == "error: standard input is not UTF-8 (byte 6); give it text\n"


def test_trace_is_a_command_and_may_be_a_prompt(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone it lacks its own; a prompt that begins with the word is one argument, or stands after --."""
    assert command.main(["trace"]) == 2
    assert (
        capsys.readouterr().err == "error: the following arguments are required: view|replay (see --help)\n"
    )
    for prompt in (["--", "trace"], ["trace the origin of the word"]):
        engine.prompts.clear()
        assert command.main(["--tools", "sums:add", *prompt]) == 0


def test_no_character_of_an_answer_is_too_much_for_the_output(
    engine: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its encoding lacks is shown by its number."""
    engine._turns = Scripted("<|channel|>final<|message|>É 日<|return|>")._turns
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert command.main(["--tools", "none", "?"]) == 0
    sys.stdout.seek(0)
    assert sys.stdout.read() == "É \\u65e5\n"


def test_a_chat_goes_on_with_the_conversation(
    engine: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line is a question; the second prompt holds the first; the end of input leaves."""
    engine._turns = Scripted(FINAL, FINAL)._turns
    monkeypatch.setattr("sys.stdin", Typed("One?\n\nTwo?\n"))
    assert command.main([]) == 0
    assert len(engine.prompts) == 2
    assert len(engine.prompts[1]) > len(engine.prompts[0])
    assert capsys.readouterr().out.count("It is 42.") == 2


def test_a_limit_without_an_answer_is_status_1(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is told on standard error."""
    assert command.main(["--max-turns", "1", "--tools", "sums:add", "?"]) == 1
    assert "--max-turns" in capsys.readouterr().err


def test_ctrl_c_is_status_130(engine: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command leaves without a traceback."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load_engine", interrupted)
    assert command.main(["?"]) == 130


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reasoning", "extreme", "?"], "choose from"),
        (["--temperature", "warm", "?"], "--temperature"),
        (["--temperature", "-1", "?"], "temperature must be"),
        (["--seed", "-1", "?"], "seed must be"),
        (["--max-turns", "0", "?"], "from 1 on"),
        (["--timeout", "-1", "?"], "seconds above 0: -1"),
        (["--timeout", "nan", "?"], "seconds above 0: nan"),
        (["--timeout", "soon", "?"], "seconds above 0: soon"),
        (["--max-tokens", "many", "?"], "from 1 on: many"),
        (["--no-such-flag"], "--help"),
        (["--tool", "python", "?"], "did you mean --tools?"),
        (["--session"], "expected one argument (see --help)"),
        (["--session", " ", "?"], "give it a name"),
        (["--tools", "pyhton", "?"], "did you mean python?"),
        (["--tools", "sums:ad", "?"], "did you mean add?"),
        (["--tools", "hammer", "?"], "module:function"),
        (["--docs", ".", "?"], "add --tools browser"),
        (["--search", "exa", "?"], "add --tools browser"),
        (["--tools", "browser", "--search", "gogle", "?"], "choose from searxng"),
        (["--tools", "browser", "--search", "exa", "--docs", ".", "?"], "exclude each other"),
        (["--tools", "browser", "--docs", "nowhere", "?"], "there is no folder 'nowhere'"),
        (["--tools", "browser", "--docs", ".", "?"], "no html, md, txt, rst or pdf"),
        (["--tools", "nowhere:add", "?"], "nowhere"),
        (["--tools", "sums:subtract", "?"], "subtract"),
        ([" "], "empty"),
        (["--ask", "?"], "needs a terminal"),
        (["--mcp", "'open", "?"], "--mcp"),
        (["--mcp", "", "?"], "name a server"),
        (["--mcp", "/no/such/server", "?"], "No such file"),
        (["--file", "absent.csv", "?"], "absent.csv"),
        (["--keep", "out", "--tools", "none", "?"], "are for python"),
        (["--sandbox", "cellophane", "?"], "choose from"),
        (["--schema", "missing.json", "?"], "cannot be read"),
        (["--schema", "sums.py", "?"], "is not JSON"),
        (["--schema", "list.json", "?"], "write an object"),
        (["--output-type", "sums", "?"], "use module:name"),
        (["--tools", "broken:add", "?"], "(SyntaxError: invalid syntax (broken.py, line 1))"),
        (["--tools", "lacking:add", "?"], "No module named 'nowhere'"),
        (["--tools", "leaving:add", "?"], "python -c 'import leaving'"),
        (["--output-type", "nowhere:Order", "?"], "nowhere"),
        (["--output-type", "sums:add", "?"], "not a class"),
        (["--output-type", ":Order", "?"], "module:name"),
        (["--schema", "a", "--output-type", "b", "?"], "not allowed with"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    engine: Scripted, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """No traceback, nothing on standard output, and what to do."""
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert says in err


def test_an_error_is_harmless_on_a_terminal(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in it, which a server may have written, are shown and not obeyed."""
    assert command.main(["--schema", "\x1b[31mred.json", "?"]) == 2
    assert capsys.readouterr().err.startswith("error: <U+001B>[31mred.json cannot be read")


def test_a_context_that_the_model_cannot_have_is_a_mistake(
    engine: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the engine refuses about an option is told like a mistake in it."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("context_length must be from 1 to 4096")

    monkeypatch.setattr(loading, "load_engine", refuse)
    assert command.main(["--context", "9999999", "?"]) == 2
    assert capsys.readouterr().err == "error: context_length must be from 1 to 4096\n"


def test_an_error_of_a_run_is_one_line(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors while the model runs are shown like mistakes in the arguments."""
    engine.context_length = 5
    assert command.main(["--tools", "none", "?"]) == 2
    assert capsys.readouterr().err.endswith("error: the prompt is too long\n")


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\x9b31m", "\r", "\x00"])
def test_no_control_character_reaches_the_terminal(hostile: str) -> None:
    """Escape sequences and direction overrides of models and tools are shown, not obeyed."""
    shown = printable(f"a{hostile}b")
    assert hostile[0] not in shown
    assert f"<U+{ord(hostile[0]):04X}>" in shown


def test_ordinary_text_is_shown_as_it_is() -> None:
    """Letters, emoji with joiners, tabs and newlines pass."""
    text = "Ünïcode 👩‍💻\n\tcode"
    assert printable(text) == text


SUPPORT = Path(__file__).resolve().parent.parent / "support"
PYTHON = "<|channel|>analysis to=python code<|message|>{}<|call|>"


def test_files_go_to_python_and_come_back(engine: Scripted, tmp_path: Path) -> None:
    """--file is there for the first cell, and --keep has afterwards what the cells wrote."""
    (tmp_path / "in.txt").write_text("forty-two")
    code = "open('out.txt', 'w').write(open('in.txt').read().upper())"
    engine._turns = Scripted(PYTHON.format(code), FINAL)._turns
    assert command.main(["--file", "in.txt", "--keep", "kept", "?"]) == 0
    assert (tmp_path / "kept" / "out.txt").read_text() == "FORTY-TWO"


def test_tools_of_a_server(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """--mcp offers what the server has, and the server ends with the command."""
    pytest.importorskip("mcp")
    server = shlex.join([sys.executable, str(SUPPORT / "mcp_server.py")])
    assert command.main(["--tools", "none", "--mcp", server, "What is 40 + 2?"]) == 0
    out, err = capsys.readouterr()
    assert out == "It is 42.\n"
    assert err.splitlines()[-2:] == ['▸ functions.add  {"a": 40, "b": 2}', "  42"]


def test_the_doctor_needs_no_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--doctor prints a line for each back end and layer; the status says whether one confines."""
    monkeypatch.setattr(loading, "load_engine", None)
    status = command.main(["--doctor"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.split()[1] for line in lines} >= {"bubblewrap", "landlock", "seccomp", "memory"}
    assert (status == 0) == any(line.startswith(("yes bubblewrap", "yes landlock")) for line in lines)


ASKED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from scripted import Scripted
from harmony.agent import __main__ as command
from harmony.agent import loading
engine = Scripted(*sys.argv[2:4])
loading.load_engine = lambda *_, **__: engine
sys.exit(command.main(["--ask", "--tools", "sums:add", "?"]))
"""


@pytest.mark.parametrize(
    ("typed", "told"), [("y", "42"), ("n", "refused"), ("", "refused"), ("yeah", "refused")]
)
def test_a_call_is_asked_for_on_the_terminal(engine: Scripted, typed: str, told: str) -> None:
    """--ask shows the call and waits: only yes lets it run, and what was typed before is no answer."""
    ours, theirs = os.openpty()
    os.write(ours, b"y\n")
    arguments = [sys.executable, "-c", ASKED, str(SUPPORT), CALL, FINAL]
    with subprocess.Popen(arguments, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N] " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{typed}\n".encode())
        answer, _ = process.communicate(timeout=60)
        shown += os.read(ours, 10_000)
    os.close(ours)
    assert process.returncode == 0
    assert answer == b"It is 42.\n"
    assert b'"b": 2' in shown.partition(b"run functions.add?")[0]
    assert told.encode() in shown.partition(b"[y/N]")[2]


def test_a_traced_run_is_shown_again(engine: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    """--trace records it; `trace replay` prints what the run printed, with neither model nor tool."""
    arguments = ["--model", "other", "--tools", "sums:add", "--trace", "run.jsonl", "What is 40 + 2?"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr()
    assert command.main(["trace", "replay", "run.jsonl"]) == 0
    assert capsys.readouterr() == printed
    assert len(engine.prompts) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "--nothing"], "view|replay"),
        (["trace", "replay"], "RUN"),
        (["trace", "replay", "absent.jsonl"], "absent.jsonl cannot be read"),
        (["trace", "replay", "sums.py"], "line 1"),
        (["trace", "view", "."], "cannot be read"),
        (["trace", "replay", "--run", "7", "run.jsonl"], "no run that was written whole"),
        (["--trace", "sums.py", "?"], "choose another file"),
        (["--logprobs", "-1", "?"], "logprobs must be"),
    ],
)
def test_a_mistake_with_traces_is_one_line(
    engine: Scripted, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """Status 2, nothing on standard output, and what to do."""
    Path("run.jsonl").write_text('{"type":"trace","version":1}\n')
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert says in err
