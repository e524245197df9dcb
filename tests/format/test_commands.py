"""`python -m harmony`: what goes where, formats in and out, and one clear line for every mistake."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import harmony
from harmony import Conversation, Message, RenderConversationConfig, Role, SystemContent
from harmony.__main__ import COMMANDS, main

if TYPE_CHECKING:
    from pathlib import Path

CONVERSATION = Conversation.from_messages(
    [
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
        Message.from_role_and_content(Role.USER, "Hi\n"),
        Message.from_role_and_content(Role.ASSISTANT, "Hm.").with_channel("analysis"),
        Message.from_role_and_content(Role.ASSISTANT, "Hello.").with_channel("final"),
    ]
)
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
BROKEN = "<|channel|>final<|message|>Hello<|start|>assistant<|channel|>final<|message|>!<|return|>"


Run = Any


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, whatever the machine says."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


class Printed:
    """What a command printed, and how it ended."""

    def __init__(self, status: int, captured: Any) -> None:
        self.status = status
        self.out: str = captured.out
        self.err: str = captured.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a file with this text."""

    def run(command: str, text: str, *options: str) -> Printed:
        file = tmp_path / "file"
        file.write_text(text, encoding="utf-8", newline="")
        return Printed(main([command, *options, str(file)]), capsys.readouterr())

    return run


def test_no_command_is_a_call_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is listed, with examples."""
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {name} " in out for name in COMMANDS)
        assert "examples:" in out


@pytest.mark.parametrize("command", ["render", "parse", "tokens"])
def test_each_command_teaches_by_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help says what FILE is."""
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"python -m harmony {command} " in out
    assert "FILE is" in out


def test_it_runs_as_a_module() -> None:
    """`python -m harmony` reads standard input and prints exact text when piped."""
    text = "<|start|>user<|message|>Hi"
    command = [sys.executable, "-m", "harmony", "tokens", "--json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert [row["text"] for row in json.loads(done.stdout)] == ["<|start|>", "user", "<|message|>", "Hi"]
    assert done.stderr == ""


def test_what_is_piped_is_utf_8() -> None:
    """Whatever the locale says, as the input is."""
    command = [sys.executable, "-m", "harmony", "tokens", "-"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, input="é".encode(), capture_output=True, check=True, env=environment)
    assert done.stdout.decode() == '     0        0     377  "é"\n'


def test_a_conversation_becomes_its_prompt(run: Run, encoding: harmony.HarmonyEncoding) -> None:
    """As text, and with --json as the same token ids."""
    expected = encoding.render_conversation_for_completion(CONVERSATION, Role.ASSISTANT)
    assert run("render", CONVERSATION.to_json()).out == encoding.decode(expected) + "\n"
    assert run("render", CONVERSATION.to_json(), "--json").json == expected
    messages = json.dumps(CONVERSATION.to_dict()["messages"])
    assert run("render", messages, "--json").json == expected


def test_a_conversation_is_rendered_for_what_comes_next(run: Run, encoding: harmony.HarmonyEncoding) -> None:
    """For history and for training, with the analysis on request."""
    config = RenderConversationConfig(auto_drop_analysis=False)
    history = encoding.render_conversation(CONVERSATION, config)
    printed = run("render", CONVERSATION.to_json(), "--json", "--for", "history", "--keep-analysis")
    assert printed.json == history
    training = encoding.render_conversation_for_training(CONVERSATION)
    assert run("render", CONVERSATION.to_json(), "--json", "--for", "training").json == training


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("chat", {"messages": [{"role": "user", "content": "Hi"}], "model": "gpt-oss"}),
        ("chat", [{"role": "user", "content": "Hi"}]),
        ("responses", {"input": [{"role": "user", "content": "Hi"}]}),
        ("responses", "Hi"),
    ],
)
def test_requests_become_prompts(run: Run, source: str, body: Any) -> None:
    """The body of a request, its messages alone, or a string for Responses."""
    out = run("render", json.dumps(body), "--from", source).out
    assert out.endswith("<|start|>user<|message|>Hi<|end|><|start|>assistant\n")


def test_functions_are_written_as_asked(run: Run) -> None:
    """--schemas faithful says what the exact profile loses."""
    schema = {"type": "object", "properties": {"x": {"const": 1}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = json.dumps({"messages": [], "tools": [tool]})
    assert "x?: any," in run("render", body, "--from", "chat").out
    assert "x?: 1," in run("render", body, "--from", "chat", "--schemas", "faithful").out


def test_a_prompt_is_parsed_back(run: Run) -> None:
    """What render prints, parse reads, and what parse prints, render reads."""
    prompt = run("render", CONVERSATION.to_json(), "--for", "history", "--keep-analysis").out
    parsed = run("parse", prompt)
    assert [message["content"][0]["text"] for message in parsed.json["messages"][1:]] == [
        "Hi\n",
        "Hm.",
        "Hello.",
    ]
    assert parsed.err == ""
    again = run("render", parsed.out, "--for", "history", "--keep-analysis")
    assert again.out == prompt


def test_a_completion_is_parsed_with_how_it_ended(run: Run, encoding: harmony.HarmonyEncoding) -> None:
    """From text or from ids; it goes on after <|start|>assistant."""
    ids = encoding.encode(CALL, allowed_special="all")
    (message,) = run("parse", json.dumps(ids)).json["messages"]
    assert message["recipient"] == "functions.f"
    assert message["ending"] == "call"
    assert message["tokens"] == {"start": 0, "stop": len(ids)}
    assert run("parse", CALL + "\n").json == run("parse", json.dumps(ids)).json


def test_faults_are_told_beside_the_messages(run: Run) -> None:
    """On standard error, or with --json in the object; the output stays JSON either way."""
    printed = run("parse", BROKEN)
    assert [message["content"][0]["text"] for message in printed.json["messages"]] == ["Hello", "!"]
    assert printed.err == "token 4: a message that <|start|> cuts off; took it to be cut off\n"
    printed = run("parse", BROKEN, "--json")
    assert printed.err == ""
    (fault,) = printed.json["diagnostics"]
    assert (fault["position"], fault["fault"]) == (4, "a message that <|start|> cuts off")
    assert fault["span"]["stop"] - fault["span"]["start"] == len(fault["tokens"])


def test_another_role_may_speak(run: Run) -> None:
    """--role names who does, where <|start|> is missing."""
    (message,) = run("parse", "<|message|>Hi<|end|>", "--role", "user").json["messages"]
    assert message["role"] == "user"


def test_messages_become_those_of_other_formats(run: Run) -> None:
    """--to chat and --to responses."""
    (message,) = run("parse", CALL, "--to", "chat").json["messages"]
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    (item,) = run("parse", CALL, "--to", "responses").json["input"]
    assert (item["type"], item["name"]) == ("function_call", "f")


def test_tokens_are_listed(run: Run) -> None:
    """Index, offset in bytes, id and text; parts of characters as bytes, special tokens by name."""
    printed = run("tokens", 'é"👩<|end|>\n')
    assert printed.out == (
        '     0        0     377  "é"\n'
        '     1        2       1  "\\""\n'
        "     2        3   28823  b'\\xf0\\x9f\\x91'\n"
        "     3        6     102  b'\\xa9'\n"
        "     4        7  200007  <|end|>\n"
    )
    assert printed.err == "5 tokens, 1 of them special\n"


def test_text_that_looks_like_ids_may_be_text(run: Run) -> None:
    """A list of integers is ids unless --text; other lists are text."""
    assert [row["text"] for row in run("tokens", "[1]", "--json").json] == ['"']
    assert "".join(row["text"] for row in run("tokens", "[1]", "--json", "--text").json) == "[1]"
    assert "".join(row["text"] for row in run("tokens", '["a"]', "--json").json) == '["a"]'
    assert run("tokens", "[]", "--json").json == run("tokens", "", "--json").json == []


HOSTILE = [{"role": "user", "content": "\x1b[2J\u202e"}]


def test_colours_are_for_terminals(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There special tokens stand out, and no text is obeyed; a pipe gets the text as it is."""
    assert "\x1b[2J\u202e" in run("render", json.dumps(HOSTILE)).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = run("render", json.dumps(HOSTILE)).out
    assert "\x1b[1;35m<|start|>\x1b[0m" in out
    assert "<U+001B>[2J<U+202E>" in out
    assert "\x1b[2J" not in out
    out = run("parse", "<|message|>\u202e<|return|>").out
    assert "\u202e" not in out
    assert "\x1b[" in out
    printed = run("parse", "<|message|>\u202e\x9b<|return|>", "--json")
    assert printed.out.isascii()
    assert printed.json["messages"][0]["content"][0]["text"] == "\u202e\x9b"


def test_no_color_is_honoured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR nothing on a terminal has a colour."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for command in ("render", "parse", "tokens"):
        text = json.dumps(HOSTILE) if command == "render" else CALL
        codes = re.findall(r"\x1b\[([0-9;]*)m", run(command, text).out)
        assert not any(int(code) >= 30 for several in codes for code in several.split(";"))


@pytest.mark.parametrize(
    ("command", "text", "options", "says"),
    [
        ("render", "{", [], "is not JSON"),
        ("render", "{}", [], "messages: is missing"),
        ("render", "1", [], "must be an object, not a number"),
        ("render", "[1]", [], "messages[0]: must be an object"),
        ("render", '[{"role": "robot", "content": "Hi"}]', [], "messages[0]: 'robot'"),
        ("render", '[{"role": "user"}]', [], "messages[0]: content is missing"),
        ("render", '[{"role": "user", "content": [{"type": "image"}]}]', [], "messages[0]: 0"),
        ("render", '[{"role": "tool", "content": "1"}]', [], "no name"),
        ("render", '[{"role": "user", "content": "\\ud800"}]', [], "surrogate"),
        ("render", "[" * 100_000, [], "nested too deeply"),
        ("render", '[{"role": "tool", "content": "1"}]', ["--from", "chat"], "messages[0].tool_call_id"),
        ("render", "[]", ["--from", "yaml"], "choose from"),
        ("parse", BROKEN[:-10] + "<|start|><|start|>", ["--strict"], "strict=False"),
        ("parse", "[1, 2", [], "is not JSON"),
        ("tokens", "[1, 201089]", [], "there is no token 201089"),
        ("tokens", "[-1]", [], "there is no token -1"),
        ("tokens", "", ["--colour"], "--colour"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    run: Run, command: str, text: str, options: list[str], says: str
) -> None:
    """No traceback, nothing on standard output, and what is wrong."""
    printed = run(command, text, *options)
    assert printed.status == 2
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["paint"], "there is no command 'paint': use render, parse, tokens"),
        (["render"], "FILE"),
        (["render", "no/such/file"], "no/such/file cannot be read"),
        (["tokens", "."], "cannot be read"),
    ],
)
def test_a_mistake_in_the_arguments(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for commands and files that do not exist."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def test_what_is_not_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are not UTF-8 are told with their place."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert main(["tokens", "-"]) == 2
    assert "standard input is not UTF-8 (byte 2)" in capsys.readouterr().err


def test_an_interrupt_leaves_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is status 130, without a traceback."""

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "tokens", (interrupted, ""))
    assert main(["tokens", "-"]) == 130
    assert capsys.readouterr().err == "\n"
