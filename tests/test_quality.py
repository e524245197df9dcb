"""The checks of the code itself: lint, format, and types on the package as it is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_ruff_finds_nothing() -> None:
    """The code obeys the lint rules of pyproject.toml."""
    assert run("ruff", "check", ".") == ""


def test_code_is_formatted() -> None:
    """`ruff format` would change nothing."""
    assert run("ruff", "format", "--check", ".") == ""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a user installs it, from a wheel, alone in a folder."""
    target = tmp_path_factory.mktemp("installed")
    settings = tmp_path_factory.mktemp("build") / "settings.cfg"
    settings.write_text(f"[build]\nbuild_base = {settings.parent}\n", encoding="utf-8")
    install = ("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), ".")
    assert run(*install, DIST_EXTRA_CONFIG=str(settings)) == ""
    return target


def test_types_are_sound(installed: Path, tmp_path: Path) -> None:
    """mypy --strict finds nothing in the installed package."""
    assert run("mypy", "--cache-dir", str(tmp_path), "-p", "harmony", MYPYPATH=str(installed)) == ""


def test_nothing_but_harmony_is_installed(installed: Path) -> None:
    """Only `harmony` is put into site-packages."""
    folders = {path.name for path in installed.iterdir() if path.is_dir()}
    assert {name for name in folders if not name.endswith(".dist-info") and name != "bin"} == {"harmony"}


def test_installed_files_are_complete(installed: Path) -> None:
    """The wheel carries the vocabulary, the tiny model, the documentation and the typing marker."""
    harmony = installed / "harmony"
    for name in (
        "py.typed",
        "docs/parsing.md",
        "runtime/tiny/model.safetensors",
        "runtime/tiny/config.json",
        "runtime/tiny/README.md",
    ):
        assert (harmony / name).is_file(), name
    assert any((harmony / "data").iterdir())


def test_the_documentation_is_read_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """A browser without a folder finds and opens the pages that were installed with it."""
    program = """
import asyncio
import harmony
from harmony.tools import Browser

async def browse():
    browser = Browser()
    await browser.call("search", '{"query": "malformed stream"}')
    return await browser.call("open", '{"id": 0}')

print(harmony.__file__)
print(asyncio.run(browse()))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith(str(installed))
    assert "(local:///" in shown.stdout


def test_the_readme_and_ci_run_one_command() -> None:
    """.ci/run takes its command from the README, which has exactly one such line."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("<!-- test command -->")[1].split("```\n")[0]
    commands = [line for line in section.splitlines() if line.startswith("python3 ")]
    assert len(commands) == 1
    assert commands[0].endswith("-m pytest -n logical")
