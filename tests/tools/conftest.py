"""The sandboxes that this machine has; a test for one that it has not is skipped with the reason."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harmony.errors import SandboxUnavailableError
from harmony.tools import Python
from harmony.tools.python import BackendName, backends

Cells = Callable[..., list[str]]


def run_cells(backend: BackendName | None, *cells: str, **options: Any) -> list[str]:
    """What each cell of one session prints."""

    async def session() -> list[str]:
        python = Python(backend, **options)
        try:
            return [await python.call(None, cell) for cell in cells]
        finally:
            await python.aclose()

    return asyncio.run(session())


@cache
def unavailable(backend: BackendName) -> str:
    """Why a back end does not hold here; empty where it does."""
    try:
        run_cells(backend, "")
    except SandboxUnavailableError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def missing() -> Callable[[BackendName], str]:
    """Why a back end does not hold here; empty where it does."""
    return unavailable


@pytest.fixture(params=["bubblewrap", "landlock", "gvisor", "docker"])
def backend(request: pytest.FixtureRequest) -> BackendName:
    """Each back end that confines."""
    name: BackendName = request.param
    if reason := unavailable(name):
        pytest.skip(reason)
    return name


@cache
def interpreter_for_all() -> str | None:
    """An interpreter of this version that every user can run."""
    check = "import importlib.util as u; print(u.MAGIC_NUMBER)"
    mine = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True).stdout
    for path in (
        backends.interpreter(),
        f"/usr/bin/python3.{sys.version_info.minor}",
        "/usr/local/bin/python3",
    ):
        try:
            theirs = subprocess.run(
                [path, "-I", "-c", check], capture_output=True, user=65534, check=False, cwd="/"
            )
        except OSError:
            continue
        if theirs.stdout == mine:
            return path
    return None


@pytest.fixture(name="interpreter_for_all", scope="session")
def _interpreter_for_all() -> str:
    """An interpreter of this version that every user can run; without one, the test is skipped."""
    if (path := interpreter_for_all()) is None:
        pytest.skip("no interpreter that every user can run")
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write to, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="harmony-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture(name="run_cells")
def _run_cells() -> Cells:
    """Run cells in one session of the back end that is named first."""
    return run_cells


@pytest.fixture
def cells(backend: BackendName) -> Cells:
    """Run cells in one session of each back end."""
    return lambda *code, **options: run_cells(backend, *code, **options)
