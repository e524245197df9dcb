"""A worker behind a supervisor, as in a container: the same session over two streams and nothing else.

The container here is one of bubblewrap's, which gets no descriptor but its standard streams: what a machine
without docker can show of the way there. The tests of the other back ends run in docker where it works.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harmony.errors import SandboxUnavailableError
from harmony.tools.python import BACKENDS, BackendName, Limits, Python, backends
from harmony.tools.python.workspace import Workspace

Cells = Callable[..., list[str]]
NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--dev", "/dev", "--proc", "/proc")


def contained(workspace: Workspace, limits: Limits, packages: tuple[str, ...] = ()) -> backends.Launch:
    """What the landlock back end starts, in a container that passes only its standard streams."""
    launch = backends.landlock(workspace, limits, packages)
    rights = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID") if workspace.user else ("--unshare-user",)
    prefix = ("bwrap", "--bind", "/", "/", *NAMESPACES, *rights, "--chdir", str(workspace.data), "--")
    return replace(launch, prefix=prefix, enclosed=True)


@pytest.fixture(autouse=True)
def container(monkeypatch: pytest.MonkeyPatch, missing: Callable[[BackendName], str]) -> None:
    """The back end of the name docker, in this container."""
    if reason := missing("bubblewrap") or missing("landlock"):
        pytest.skip(reason)
    monkeypatch.setitem(BACKENDS, "docker", contained)


@pytest.fixture(name="cells")
def _cells(run_cells: Cells) -> Cells:
    """Run cells in one session behind a supervisor."""
    return lambda *code, **options: run_cells("docker", *code, **options)


def test_a_session_is_a_session(cells: Cells) -> None:
    """Variables stay, values are echoed, a confined worker is no other process's parent."""
    assert cells("x = 20", "x + 1", "import os; os.fork()")[1] == "21"
    assert "PermissionError" in cells("import os; os.fork()")[0]


def test_output_comes_before_the_answer(cells: Cells) -> None:
    """What a cell printed is in its own answer, whatever the size, and not in the next."""
    texts = cells(*(f"print({number}, 'y' * {size})" for number, size in enumerate((1, 10_000, 30_000) * 20)))
    assert [text.split()[0] for text in texts] == [str(number) for number in range(60)]
    assert [len(text.split()[1]) for text in texts] == [1, 10_000, 30_000] * 20


def test_a_flood_keeps_head_and_tail(cells: Cells) -> None:
    """A hundred megabytes pass and are cut, and the session goes on."""
    flood, after = cells("import os\nfor _ in range(100): os.write(1, b'x' * (1 << 20))\nprint('end')", "1")
    assert flood.endswith("xend")
    assert len(flood) < 66_000
    assert after == "1"


def test_a_long_cell_arrives_whole(cells: Cells) -> None:
    """Code larger than any buffer runs."""
    assert cells(f"x = '{'y' * 3_000_000}'\nlen(x)") == ["3000000"]


def test_the_time_limit_keeps_the_variables(cells: Cells) -> None:
    """The interrupt gets through to a cell that computes, sleeps, or prints without end."""
    loops = ["while True: x += 1", "import time; time.sleep(600)", "while True: print('x' * 1000)"]
    texts = cells("x = 1", *loops, "'on'", timeout=0.5)
    assert all(text.endswith("variables are kept]") for text in texts[1:4])
    assert texts[4] == "'on'"


@pytest.mark.parametrize(
    ("cell", "how"),
    [
        (
            "import os; print('last', flush=True); os._exit(3)",
            "last\n[The Python session ended (exit status 3)",
        ),
        ("import ctypes; ctypes.string_at(0)", "[The Python session ended (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 9)", "[The Python session ended (SIGKILL)"),
        ("import os; os.closerange(3, 100)\nwhile True: pass", "[Killed, since it closed the session's own"),
        ("import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass", "[Killed after 1.5 s"),
        (
            "import os\nfor n in range(3, 20):\n    try: os.write(n, b'forged!!')\n    except OSError: pass\n"
            "while True: pass",
            "[Killed, since it wrote to the session's own",
        ),
    ],
)
def test_a_worker_that_ends_says_how(cells: Cells, cell: str, how: str) -> None:
    """The supervisor ends as its worker did, and the next call starts a new one."""
    ended, after = cells(cell, "1", timeout=1.5)
    assert ended.startswith(how)
    assert after == "1"


def test_nothing_runs_between_cells() -> None:
    """A thread that a cell leaves behind stands still until the next cell."""

    async def beats() -> list[int]:
        python = Python("docker")
        await python.call(
            None, "import threading, time\nn = 0\ndef beat():\n    global n\n    while True: n += 1"
        )
        await python.call(None, "threading.Thread(target=beat, daemon=True).start()")
        before = await python.call(None, "n")
        await asyncio.sleep(0.5)
        answers = [before, await python.call(None, "n"), await python.call(None, "time.sleep(0.5); n")]
        await python.aclose()
        return [int(answer) for answer in answers]

    before, after, later = asyncio.run(beats())
    assert 10 * (after - before) < later - after


def test_a_thread_that_prints_without_end_blocks_nothing(cells: Cells) -> None:
    """Signals get past its output: the cells that follow end, and their ends are seen."""
    noise = "import threading\ndef shout():\n    while True: print('noise' * 1000)\n"
    texts = cells(
        f"{noise}threading.Thread(target=shout, daemon=True).start()", "1", "while True: pass", timeout=1.0
    )
    assert texts[2].endswith(("variables are kept]", "starts a new session]"))


def running(word: str) -> list[str]:
    """The processes that have a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_text(errors="replace") and path.parent.name != str(os.getpid()):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


HOST = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
import test_enclosed
from harmony.tools.python import BACKENDS, Python
BACKENDS["docker"] = test_enclosed.contained
python = Python("docker")
asyncio.run(python.call(None, "x = 1"))
print(python._workspace.root, flush=True)
if sys.argv[2] == "kill": os.kill(os.getpid(), 9)
asyncio.run(python.aclose())
"""


@pytest.mark.parametrize("how", ["kill", "close"])
def test_a_host_that_is_gone_leaves_no_process(how: str) -> None:
    """Killed or closed: the supervisor sees its stream end, and takes the worker with it."""
    command = [sys.executable, "-c", HOST, str(Path(__file__).parent), how]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    folder = done.stdout.strip()
    assert folder
    for _ in range(200):
        if not (left := running(folder)):
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {left}")


def test_a_container_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of what stands before the worker is the reason."""

    def broken(*arguments: object) -> backends.Launch:
        launch = contained(*arguments)  # type: ignore[arg-type]
        return replace(launch, prefix=("/bin/sh", "-c", "echo no such image >&2; exit 125"))

    monkeypatch.setitem(BACKENDS, "docker", broken)
    with pytest.raises(SandboxUnavailableError, match="no such image"):
        asyncio.run(Python("docker").call(None, "1"))
