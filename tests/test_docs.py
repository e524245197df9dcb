"""The programs and the commands in the documentation run as they stand, and its tables are true."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harmony.faithful import faithful_signature
from harmony.signatures import function_signature

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_are_a_program(page: str) -> None:
    """One after the other, each page's blocks run, and what they assert holds."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(compile("\n".join(blocks), f"docs/{page}.md", "exec"), {})


def test_the_commands_of_a_page_print_what_it_says(tmp_path: Path) -> None:
    """Each block of commands, one after the other in a folder, prints the block behind it."""
    text = (DOCS / "command.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```bash\n(.*?)^```\n\n```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == text.count("```bash")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for commands, printed in examples:
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == printed


def rows_with_a_schema() -> list[tuple[dict[str, Any], list[str], list[str]]]:
    """Each schema in the table of schema-profiles.md, and the pieces of text that both profiles give."""
    text = (DOCS / "schema-profiles.md").read_text(encoding="utf-8")
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
