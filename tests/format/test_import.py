"""Importing the package costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harmony

HEAVY = {"torch", "numpy", "rich", "httpx", "pydantic", "tiktoken", "jsonschema"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after a statement."""
    root = Path(harmony.__file__).parent.parent
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize(
    "statement", ["import harmony", "import harmony.errors", "from harmony import ToolError"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    """Neither the package nor its errors load pydantic, tiktoken, torch, rich or httpx."""
    assert not modules_after(statement) & HEAVY


def test_the_encoding_loads_only_what_the_format_needs() -> None:
    """Loading the encoding does not load torch, rich, httpx or jsonschema."""
    allowed = {"pydantic", "tiktoken"}
    assert not modules_after("import harmony; harmony.load_encoding()") & (HEAVY - allowed)


@pytest.mark.parametrize("module", ["harmony.__main__", "harmony.agent.command"])
def test_a_command_loads_no_schema_library_before_it_needs_one(module: str) -> None:
    """What enforces schemas is loaded with the first schema."""
    assert not modules_after(f"import {module}") & {"jsonschema", "llguidance", "lxml", "mcp", "torch"}


def test_every_public_name_is_there() -> None:
    """Each name of __all__ resolves, is declared for type checkers, and appears in dir()."""
    for name in harmony.__all__:
        assert getattr(harmony, name) is not None
    tree = ast.parse(Path(harmony.__file__).read_text())
    declared = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(harmony.__all__) <= declared & set(dir(harmony))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public raises AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harmony.nothing  # noqa: B018 - the access is what is tested


def test_the_runtime_needs_neither_pydantic_nor_tiktoken() -> None:
    """On a machine without the format's libraries, the runtime still imports."""
    assert "harmony" in modules_after(
        "sys.modules |= {'pydantic': None, 'tiktoken': None}; import harmony.runtime"
    )
