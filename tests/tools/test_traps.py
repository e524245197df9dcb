"""What went wrong in sandboxes before, each held here so that it does not come back."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony.tools import Python
from harmony.tools.python import BackendName, Limits, backends
from harmony.tools.python.workspace import Workspace

Cells = Callable[..., list[str]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_in_the_namespace_is_not_root_of_the_kernel(cells: Cells) -> None:
    """bwrap run by root keeps uid 0: the worker gives it up, and the user it becomes counts its threads."""
    code = "import os; print(os.getuid(), os.access('/proc/sys/kernel/core_pattern', os.W_OK))"
    user, writable = cells(code)[0].split()
    assert int(user) > 65535
    assert writable == "False"


def test_an_interpreter_that_only_root_may_reach(cells: Cells) -> None:
    """The standard library, with its compiled modules, imports after the change of user."""
    assert cells("import sqlite3, ssl, decimal, xml.dom.minidom, zoneinfo; 'all'") == ["'all'"]


def test_processor_time_is_not_counted(cells: Cells) -> None:
    """RLIMIT_CPU adds up over a session, so only the wall clock limits a cell."""
    code = "import resource; resource.getrlimit(resource.RLIMIT_CPU) == (resource.RLIM_INFINITY,) * 2"
    assert cells(code) == ["True"]


def test_memory_of_one_process_is_all_there_is(cells: Cells) -> None:
    """RLIMIT_AS is per process and does not see memfd: there is neither a second process nor a memfd."""
    one, two = cells("import os; os.fork()", "os.memfd_create('x')")
    assert "PermissionError" in one
    assert "PermissionError" in two


def test_landlock_lets_connect_pass_but_there_is_no_socket(cells: Cells, open_folder: Path) -> None:
    """A unix socket that everyone may connect to hears nothing."""
    path = open_folder / "open.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        listener.setblocking(False)
        (text,) = cells(f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})")
        assert "PermissionError" in text
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_change_of_user_does_not_undo_the_death_signal(backend: BackendName) -> None:
    """PR_SET_PDEATHSIG is cleared by setuid: the worker of a host killed outright is gone all the same."""
    host = """
import asyncio, os, sys
from harmony.tools import Python
python = Python(sys.argv[1])
asyncio.run(python.call(None, "1"))
print(python._session._worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", host, backend], stdout=subprocess.PIPE, text=True, check=False
    )
    worker = Path("/proc", done.stdout.strip())
    assert done.stdout.strip()
    for _ in range(500):
        if not worker.exists() or "Z" in (worker / "stat").read_text().rpartition(")")[2].split()[:1]:
            return
        asyncio.run(asyncio.sleep(0.02))
    pytest.fail("the worker outlived its host")


def test_a_folder_in_tmp_is_not_hidden_by_the_sandbox_own(cells: Cells, open_folder: Path) -> None:
    """/tmp of the sandbox is mounted beside the session's folder, which lies in /tmp of the machine."""
    assert open_folder.parent == Path("/tmp")
    code = "import tempfile; open('here', 'w').write('x'); open(tempfile.mkstemp()[1], 'w').write('y')"
    assert cells(code, "open('here').read()")[1] == "'x'"


def test_the_system_own_bwrap_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ubuntu's AppArmor lets only /usr/bin/bwrap make user namespaces: another in PATH is not taken."""
    if not os.path.exists("/usr/bin/bwrap"):
        pytest.skip("no /usr/bin/bwrap")
    (tmp_path / "bwrap").write_text("#!/bin/false")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert backends.bubblewrap(Workspace.create(), Limits()).prefix[0] == "/usr/bin/bwrap"


def test_the_folder_of_a_killed_host_goes_when_the_next_begins(
    backend: BackendName, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SIGKILL left behind is swept; the folder of a host that lives is not."""
    monkeypatch.setenv("TMPDIR", str(open_folder))
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    host = """
import asyncio, os, sys
from harmony.tools import Python
python = Python(sys.argv[1])
asyncio.run(python.call(None, "open('left', 'w').close()"))
os.kill(os.getpid(), 9)
"""

    async def sweep() -> list[list[str]]:
        alive = Python(backend)
        await alive.call(None, "open('mine', 'w').close()")
        subprocess.run([sys.executable, "-c", host, backend], check=False)
        left = sorted(path.name for path in open_folder.glob("*/data/*"))
        after = Python(backend)
        await after.call(None, "1")
        swept = sorted(path.name for path in open_folder.glob("*/data/*"))
        await alive.aclose()
        await after.aclose()
        return [left, swept]

    assert asyncio.run(sweep()) == [["left", "mine"], ["mine"]]


def test_a_link_in_place_of_a_folder_is_not_swept(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name like a session's that leads elsewhere is left alone, and so is where it leads."""
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    (open_folder / "precious").mkdir()
    (open_folder / "precious" / "file").write_text("kept")
    (open_folder / "harmony-python-planted").symlink_to(open_folder / "precious")
    Workspace.create().remove()
    assert (open_folder / "precious" / "file").read_text() == "kept"
