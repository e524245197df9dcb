"""The programs and the commands in the documentation run as they stand, and its tables are true.

A block of commands runs unless its first line says what it needs and a test machine may not have, as in
`# needs a GPU`. Of all commands of ours, the options are read by the parser that they are for.
"""

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from harmony.agent import Event
from harmony.faithful import faithful_signature
from harmony.signatures import function_signature

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("*.md"))
TEXTS = {page: (DOCS / f"{page}.md").read_text(encoding="utf-8") for page in PAGES}
TEXTS["README"] = (DOCS.parent / "README.md").read_text(encoding="utf-8")
SERVERS = ("README", "scale-out", "server")
"""Pages whose blocks hold alternatives, or commands that do not end."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[page], re.DOTALL | re.MULTILINE)


def file_of(program: str) -> str | None:
    """The file that a program belongs into, if its first line names one."""
    named = re.match(r"# (\S+\.py)\n", program)
    return named and named[1]


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_are_a_program(page: str) -> None:
    """One after the other, each page's blocks run, and what they assert holds."""
    program = "\n".join(block for block in blocks(page, "python") if file_of(block) is None)
    exec(compile(program, f"docs/{page}.md", "exec"), {})


@pytest.mark.parametrize("page", [page for page in PAGES if "```bash" in TEXTS[page] and page not in SERVERS])
def test_the_commands_of_a_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    """Each block of commands, one after the other in a folder, prints the block behind it.

    The folder has the programs of the page that name a file, and every one of them is used.
    """
    files = {name: block for block in blocks(page, "python") if (name := file_of(block))}
    for name, program in files.items():
        (tmp_path / name).write_text(program, encoding="utf-8")
    examples = re.findall(
        r"^```bash\n(.*?)^```(?:\n\n```\n(.*?)^```)?", TEXTS[page], re.DOTALL | re.MULTILINE
    )
    ran = [(commands, printed) for commands, printed in examples if not commands.startswith("# needs ")]
    assert all(any(f"python {name}" in commands for commands, _ in ran) for name in files)
    home = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    for commands, printed in ran:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env=os.environ | home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert printed in ("", done.stdout)


class Read(Exception):
    """A parser has read its options, and the command does not begin."""


def our_commands() -> list[tuple[str, str, list[str]]]:
    """Page, module and arguments of each command of ours in a block of commands."""
    found = []
    for page, text in TEXTS.items():
        for block in re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for module, rest in re.findall(r"python -m (harmony[\w.]*) ?(.*)", block):
                words = shlex.split(rest, comments=True)
                end = next((i for i, word in enumerate(words) if word in ("|", "&&", ">")), len(words))
                found.append((page, module, words[:end]))
    return found


@pytest.mark.parametrize(("page", "module", "arguments"), our_commands())
def test_a_command_has_the_options_that_it_is_given(
    page: str, module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own parser reads them; whether it could run here does not matter."""
    parse_args = argparse.ArgumentParser.parse_args

    def read(*given: Any, **more: Any) -> None:
        parse_args(*given, **more)
        raise Read

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    package = importlib.import_module(module)
    command = importlib.import_module(f"{module}.__main__") if hasattr(package, "__path__") else package
    with pytest.raises(Read):
        command.main(arguments)


def test_the_table_of_events_is_true() -> None:
    """Each type of event has a row, with its class and exactly its fields."""
    section = TEXTS["agents"].partition("## Events")[2].partition("\n## ")[0]
    _, *rows = (re.findall(r"`(\w+)`", row) for row in section.splitlines() if row.startswith("| `"))
    (union, _) = get_args(Event)
    fields = {event.__name__: event.model_fields for event in get_args(union)}
    assert [{*row} for row in rows] == [
        {of["type"].default, name, *of.keys() - {"type"}} for name, of in fields.items()
    ]


def rows_with_a_schema() -> list[tuple[dict[str, Any], list[str], list[str]]]:
    """Each schema in the table of schema-profiles.md, and the pieces of text that both profiles give."""
    text = TEXTS["schema-profiles"]
    table = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in text.splitlines() if line[:4] == "| `{"]
    pieces = [[re.findall(r"`([^`]+)`", cell.replace("\\|", "|")) for cell in row] for row in table]
    return [(json.loads(schema), exact, faithful) for (schema,), exact, faithful in pieces]


@pytest.mark.parametrize(("schema", "exact", "faithful"), rows_with_a_schema())
def test_the_table_of_schemas_is_true(schema: dict[str, Any], exact: list[str], faithful: list[str]) -> None:
    """A property `x` with each schema is written as its row says, in both profiles."""
    point = {"type": "object", "properties": {"left": {"type": "number"}}}
    properties = {"x": schema, "y": schema}
    whole = {"type": "object", "properties": properties, "required": ["x"], "$defs": {"Point": point}}
    for pieces, signature in ((exact, function_signature), (faithful, faithful_signature)):
        assert set(pieces) <= set(map(str.strip, signature("f", whole).splitlines()))
