"""`python -m harmony grammar` prints what the Python call gives, and says what is wrong on one line."""

import json
from pathlib import Path

import pytest

from harmony import Choices, JsonSchema, Lark, Regex, ToolDescription, ToolNamespaceConfig, TurnGrammar
from harmony.errors import HarmonyError
from harmony.grammar_command import print_grammar

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tools = [
        {"name": "flat", "description": "", "parameters": CITY},
        {"type": "function", "function": {"name": "nested"}},
    ]
    (tmp_path / "tools.json").write_text(json.dumps(tools), encoding="utf-8")
    (tmp_path / "schema.json").write_text(json.dumps(CITY), encoding="utf-8")
    (tmp_path / "grammar.lark").write_text('start: "a"', encoding="utf-8")
    (tmp_path / "broken.json").write_text("[{]", encoding="utf-8")
    (tmp_path / "list.json").write_text('["a"]', encoding="utf-8")
    return tmp_path


def test_tools_and_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Functions in either shape, a built-in tool, a schema and the effort all reach the grammar."""
    options = ["--tools", f"{folder}/tools.json", "--builtin", "python", "--schema", f"{folder}/schema.json"]
    assert print_grammar([*options, "--reasoning", "high", "--no-preambles"]) == 0
    expected = TurnGrammar.of(
        [ToolDescription.new("flat", "", CITY), ToolDescription.new("nested", "")],
        [ToolNamespaceConfig.python()],
        response=JsonSchema(CITY),
        reasoning="High",
        preambles=False,
    )
    assert capsys.readouterr().out == expected.text + "\n"


def test_other_formats(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A regular expression, choices and a Lark grammar."""
    for options, response in (
        (["--regex", "a+"], Regex("a+")),
        (["--choice", "a", "--choice", "b"], Choices(("a", "b"))),
        (["--lark", f"{folder}/grammar.lark"], Lark('start: "a"')),
    ):
        print_grammar(options)
        assert capsys.readouterr().out == TurnGrammar.of(response=response).text + "\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--tools", "missing.json"],
        ["--tools", "broken.json"],
        ["--tools", "list.json"],
        ["--schema", "list.json"],
        ["--tools", "schema.json"],
        ["--regex", "a", "--choice", "b"],
        ["--tool-choice", "f"],
        ["--unknown"],
    ],
)
def test_mistakes_are_typed(options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not there or hold something else, and options that clash."""
    monkeypatch.chdir(folder)
    with pytest.raises(HarmonyError) as raised:
        print_grammar(options)
    assert "\n" not in str(raised.value)
