"""The python tool as a notebook: state, echo, tracebacks, order of output, limits and what survives them."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony.errors import SandboxUnavailableError, ToolError
from harmony.tools import BuiltinTool, Python
from harmony.tools.python import BackendName, Limits, backends, session
from harmony.tools.python.tool import NO_OUTPUT
from harmony.tools.python.workspace import Workspace

Cells = Callable[..., list[str]]


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ignores the interrupt is killed soon."""
    monkeypatch.setattr(session, "GRACE", 0.2)


def test_it_is_the_trained_tool() -> None:
    """The tool has the namespace that the model was trained with."""
    assert isinstance(Python(), BuiltinTool)
    assert Python().namespace.name == "python"


def test_constructing_starts_nothing() -> None:
    """A tool that is never called holds no process and no folder, and closes all the same."""
    python = Python()
    asyncio.run(python.aclose())
    assert python.backend is None


def test_an_unknown_backend_is_refused() -> None:
    """The error names the back ends there are."""
    with pytest.raises(ToolError, match="use one of bubblewrap, landlock, gvisor, docker, unconfined"):
        Python("chroot")  # type: ignore[arg-type]


def test_a_function_of_python_does_not_exist(backend: BackendName) -> None:
    """A call to python.something tells the model how to call."""
    with pytest.raises(ToolError, match="plain text to python"):
        asyncio.run(Python(backend).call("exec", "1"))


def test_the_first_backend_that_holds_is_kept(backend: BackendName) -> None:
    """Without a name, a confining back end is chosen, never the unconfined one."""

    async def chosen() -> BackendName | None:
        python = Python()
        await python.call(None, "1")
        await python.aclose()
        return python.backend

    assert asyncio.run(chosen()) in ("bubblewrap", "landlock")


def test_where_nothing_confines_nothing_runs(run_cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names every reason and what to install."""

    def broken(*_: object) -> backends.Launch:
        raise SandboxUnavailableError("not here")

    monkeypatch.setitem(backends.BACKENDS, "bubblewrap", broken)
    monkeypatch.setitem(backends.BACKENDS, "landlock", broken)
    with pytest.raises(
        SandboxUnavailableError, match=r"landlock does not work here: not here.*apt install bubblewrap"
    ):
        run_cells(None, "print('ran')")


def test_a_weaker_sandbox_is_told_once(
    run_cells: Cells, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is taken instead, and what to do: one line, however many sessions there are."""

    def missing(*_: object) -> backends.Launch:
        raise SandboxUnavailableError("bwrap is not installed (`apt install bubblewrap`)")

    monkeypatch.setitem(backends.BACKENDS, "bubblewrap", missing)
    monkeypatch.setitem(backends.BACKENDS, "landlock", backends.unconfined)  # which works everywhere
    assert run_cells(None, "1") == run_cells(None, "1") == ["1"]
    assert [record.getMessage() for record in caplog.records] == [
        "python is confined by landlock alone, since bubblewrap does not work here: "
        "bwrap is not installed (`apt install bubblewrap`)"
    ]


def test_a_path_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a session is removed all the same."""
    monkeypatch.setenv("PATH", str(tmp_path))
    workspace = Workspace.create()
    workspace.remove()
    assert not workspace.root.exists()


def test_a_worker_that_cannot_confine_itself_runs_nothing(
    run_cells: Cells, backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that the kernel does not take ends the worker before any code of the model."""
    monkeypatch.setattr("harmony.tools.python.seccomp.program", lambda *_: bytes(8))
    with pytest.raises(SandboxUnavailableError, match="refused a seccomp filter"):
        run_cells(backend, "print('ran')")


def test_a_program_that_cannot_be_started(run_cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bwrap or interpreter that does not run is a reason, not a crash."""
    monkeypatch.setattr("harmony.tools.python.process.interpreter", lambda: "/nonexistent/python")
    with pytest.raises(SandboxUnavailableError, match="the worker cannot be started"):
        run_cells("landlock", "print('ran')")


def test_a_filter_that_lets_pass_is_found_out(
    run_cells: Cells, backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that could still start a process ends before any code of the model."""
    allow_all = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
    monkeypatch.setattr("harmony.tools.python.seccomp.program", lambda *_: allow_all)
    with pytest.raises(SandboxUnavailableError, match="could still"):
        run_cells(backend, "print('ran')")


def test_unconfined_has_to_be_asked_for(run_cells: Cells) -> None:
    """By its name, code runs with the rights of the host."""
    assert run_cells("unconfined", f"open({__file__!r}).read(3)") == ['\'"""\'']


def test_variables_stay(cells: Cells) -> None:
    """A cell sees what the cells before it defined."""
    assert cells("x = 6", "def double(n): return 2 * n", "double(x)")[-1] == "12"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("1 + 1", "2"),
        ("'a'", "'a'"),
        ("x = 1\nx", "1"),
        ("1\n2", "2"),
        ("None", NO_OUTPUT),
        ("x = 1", NO_OUTPUT),
        ("1;", NO_OUTPUT),
        ("", NO_OUTPUT),
        ("# nothing", NO_OUTPUT),
        ("print('é ☃ 😀')", "é ☃ 😀"),
        ("for i in range(2): i", NO_OUTPUT),
        ("__name__", "'__main__'"),
        ("print('\\ud800')", "\\ud800"),
    ],
)
def test_the_last_expression_is_echoed(cells: Cells, cell: str, shown: str) -> None:
    """The value of a last expression is shown as its repr, and silence is explained."""
    assert cells(cell) == [shown]


def test_output_and_errors_keep_their_order(cells: Cells) -> None:
    """What goes to stdout, to stderr and to the descriptors arrives in the order it was written."""
    code = """
import os, sys
for i in range(3):
    print(i, end=" ")
    print("e", i, end=" ", file=sys.stderr)
    sys.stdout.flush(); os.write(1, b"o "); os.write(2, b"p\\n")
4
"""
    assert cells(code) == ["0 e 0 o p\n1 e 1 o p\n2 e 2 o p\n4"]


def test_a_traceback_begins_at_the_cell(cells: Cells) -> None:
    """An error shows the cell's lines and nothing of the worker, and the session goes on."""
    error, after = cells("def f():\n    return 1 / 0\nf()", "'on'")
    assert error.startswith(
        'Traceback (most recent call last):\n  File "<cell 1>", line 3, in <module>\n    f()\n'
    )
    assert error.endswith("ZeroDivisionError: division by zero")
    assert "return 1 / 0" in error
    assert "worker" not in error
    assert after == "'on'"


def test_a_syntax_error_names_its_line(cells: Cells) -> None:
    """Code that is not Python says where."""
    assert cells("x = 1\ndef f(:")[0].startswith('  File "<cell 1>", line 2\n')


@pytest.mark.parametrize(
    "cell", ["raise SystemExit(3)", "import sys; sys.exit('bye')", "raise KeyboardInterrupt"]
)
def test_leaving_does_not_end_the_session(cells: Cells, cell: str) -> None:
    """SystemExit and KeyboardInterrupt are shown like any error."""
    assert cells("x = 1", cell, "x")[-1] == "1"


def test_an_error_that_breaks_its_own_display(cells: Cells) -> None:
    """An exception whose text cannot be made ends in a line, not in the end of the session."""
    code = """
class Bad(Exception):
    def __str__(self): raise ValueError
    @property
    def __cause__(self): raise ValueError
raise Bad
"""
    broken, after = cells(code, "2")
    assert "Bad" in broken
    assert after == "2"


def test_closed_streams_come_back(cells: Cells) -> None:
    """A cell that closes sys.stdout does not silence the next."""
    assert cells("import sys; sys.stdout.close()", "print('here')")[1] == "here"


def test_standard_input_is_empty(cells: Cells) -> None:
    """input() meets the end of the file at once."""
    assert "EOFError" in cells("input()")[0]


def test_threads_asyncio_and_files_work(cells: Cells) -> None:
    """What ordinary code needs is there: threads, an event loop, files, copies, the standard library."""
    code = """
import asyncio, json, shutil, sqlite3, tempfile, threading
done = []
thread = threading.Thread(target=done.append, args=(1,)); thread.start(); thread.join()
asyncio.run(asyncio.sleep(0))
with open("a.txt", "w") as file: file.write("text")
shutil.copy2("a.txt", "b.txt")
with tempfile.TemporaryFile() as file: file.write(b"x")
done, open("b.txt").read(), sqlite3.connect(":memory:").execute("select 1").fetchone()
"""
    assert cells(code) == ["([1], 'text', (1,))"]


def test_working_folder(run_cells: Cells, backend: BackendName) -> None:
    """Cells start in a folder of their own; wherever there are mounts, it is /mnt/data."""
    (folder,) = run_cells(backend, "import os; print(os.getcwd())")
    assert (folder == "/mnt/data") == (backend != "landlock")


def test_special_tokens_are_text(cells: Cells) -> None:
    """Markers of the format and of citations pass as they are."""
    text = "<|end|><|start|>assistant<|channel|>final<|message|>【1†L1】"
    assert cells(f"print({text!r})") == [f"{text}"]


def test_escape_sequences_are_stripped(cells: Cells) -> None:
    """Terminal colours, bells and other control characters do not reach the conversation."""
    assert cells(r"print('\x1b[31mred\x1b[0m\a\tx\x00\x85\r')") == ["red\tx"]


def test_bytes_that_are_no_text_are_replaced(cells: Cells) -> None:
    """Output that is not UTF-8 gives replacement characters."""
    assert cells(r"import os; os.write(1, b'a\xff\xfeb\n');") == ["a��b"]


def test_a_flood_keeps_head_and_tail(cells: Cells) -> None:
    """Of ten megabytes, 64 KiB are kept, and a line says how much is missing."""
    (text,) = cells("print('HEAD' + 'x' * 10_000_000 + 'TAIL')")
    assert len(text) < 66_000
    assert text.startswith("HEADx")
    assert text.endswith("xTAIL")
    assert f"[... {10_000_009 - 65_536} bytes of output dropped ...]" in text


def test_a_long_cell_arrives_whole(cells: Cells) -> None:
    """Code larger than any socket buffer runs."""
    assert cells(f"x = '{'y' * 2_000_000}'\nlen(x)") == ["2000000"]


def test_the_time_limit_keeps_the_variables(cells: Cells) -> None:
    """A cell over its time is interrupted as by Ctrl-C; the session keeps its state."""
    before, over, after = cells("x = 41", "print('begun')\nwhile True: x = 42", "x", timeout=0.5)
    assert before == NO_OUTPUT
    assert over.startswith("begun\nTraceback")
    assert over.endswith("KeyboardInterrupt\n[Interrupted after 0.5 s; variables are kept]")
    assert after == "42"


def test_a_sleeping_cell_is_interrupted(cells: Cells) -> None:
    """A call that blocks in the kernel ends at the limit too."""
    assert "variables are kept" in cells("import time; time.sleep(600)", timeout=0.3)[0]


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize(
    "cell",
    [
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "while True:\n    try:\n        for _ in iter(int, 1): pass\n    except BaseException: pass",
    ],
)
def test_a_loop_that_ignores_the_interrupt_is_killed(cells: Cells, cell: str) -> None:
    """After the grace the worker is killed, the model is told, and the next call starts anew."""
    _, killed, after = cells("x = 1", cell, "'x' in globals()", timeout=0.3)
    assert killed.endswith("variables are lost, the next call starts a new session]")
    assert "ignored the interrupt" in killed
    assert after == "False"


def test_a_worker_killed_from_outside(backend: BackendName) -> None:
    """A worker that died between two calls is noticed by the next, which says so."""

    async def killed() -> tuple[str, str]:
        python = Python(backend)
        await python.call(None, "x = 1")
        assert python._session is not None
        os.kill(python._session._worker.pid, 9)
        answers = await python.call(None, "x"), await python.call(None, "2")
        await python.aclose()
        return answers

    ended, after = asyncio.run(killed())
    assert ended.startswith("[The Python session ended (SIGKILL); variables are lost")
    assert after == "2"


def test_files_outlive_the_worker(cells: Cells) -> None:
    """A worker that ends loses variables, not files."""
    assert cells("open('kept', 'w').write('k'); import os; os._exit(1)", "open('kept').read()")[1] == "'k'"


@pytest.mark.parametrize(
    ("cell", "how"),
    [
        ("import os; print('last', flush=True); os._exit(3)", "exit status 3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os; os.closerange(0, 100)", "exit status|closed the session's own channel"),
        ("import os; os.closerange(3, 100)\nwhile True: pass", "closed the session's own channel"),
    ],
)
def test_a_worker_that_ends_says_how(cells: Cells, cell: str, how: str) -> None:
    """The model learns that the session ended and why, and the next call starts a new one."""
    ended, after = cells(cell, "1")
    assert any(words in ended for words in how.split("|"))
    assert "variables are lost" in ended
    assert after == "1"


def test_output_before_the_end_is_kept(cells: Cells) -> None:
    """What a worker printed before it ended is shown."""
    assert cells("import os; print('last', flush=True); os._exit(3)")[0].startswith(
        "last\n[The Python session"
    )


def test_memory_is_limited(cells: Cells) -> None:
    """Taking more than the limit raises MemoryError in the cell and leaves the session usable."""
    big, many, after = cells(
        "x = bytearray(1 << 30)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "x = None; 'alive'",
        limits=Limits(memory=256 << 20),
    )
    assert big.endswith("MemoryError")
    assert many.endswith("MemoryError")
    assert after == "'alive'"


def test_a_file_over_its_limit(cells: Cells) -> None:
    """Writing past the size of a file is an error in the cell."""
    code = "with open('big', 'wb') as file: file.write(bytes(2 << 20))"
    assert "File too large" in cells(code, limits=Limits(file_size=1 << 20))[0]


@pytest.mark.parametrize(
    "cell",
    [
        "for i in range(100):\n    with open(str(i), 'wb') as file: file.write(bytes(1 << 20))",
        "for i in range(10_000): open(str(i), 'w').close()",
        "import os\nos.mkdir('hidden', 0o300)",
    ],
)
def test_a_full_disk_ends_the_session(cells: Cells, cell: str) -> None:
    """More bytes or files than allowed, or a folder nobody can look into, costs the session its files."""
    if "hidden" in cell and os.geteuid() == 0:
        pytest.skip("root can look into every folder")
    limits = Limits(disk=8 << 20, files=1_000)
    full, after = cells(f"{cell}\nimport time; time.sleep(60)", "import os; os.listdir()", limits=limits)
    assert "all files are removed" in full
    assert after == "[]"


def test_a_forged_reply_ends_the_session(cells: Cells) -> None:
    """A cell that writes to the channel is found out, and the host goes on."""
    forge = """
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b"forged!!")
    except OSError: pass
while True: pass
"""
    forged, after = cells(forge, "1")
    assert "wrote to the session's own channel" in forged
    assert after == "1"


def test_a_reply_sent_twice_ends_the_session_one_cell_later(cells: Cells) -> None:
    """A cell that answers for itself ends early at most; the second answer is out of turn."""
    forge = """
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, (1).to_bytes(4, "big"))
    except OSError: pass
"""
    first, second, third = cells(forge, "2", "3")
    assert first == NO_OUTPUT
    assert "wrote to the session's own channel" in second
    assert third == "3"


def test_nothing_runs_between_cells(backend: BackendName) -> None:
    """A thread that a cell leaves behind stands still until the next cell."""
    count = """
import threading, time
beats = [0]
def beat():
    while True: beats[0] += 1; time.sleep(0.001)
threading.Thread(target=beat, daemon=True).start()
"""

    async def beats() -> tuple[str, str, str]:
        python = Python(backend)
        await python.call(None, count)
        before = await python.call(None, "beats[0]")
        await asyncio.sleep(0.3)
        after = await python.call(None, "beats[0]")
        later = await python.call(None, "time.sleep(0.1); beats[0]")
        await python.aclose()
        return before, after, later

    before, after, later = asyncio.run(beats())
    assert int(after) - int(before) < 100
    assert int(later) > int(after)


def test_a_session_outlives_its_event_loop(backend: BackendName) -> None:
    """Variables stay when the next call comes from another asyncio.run."""
    python = Python(backend)
    asyncio.run(python.call(None, "x = 7"))
    assert asyncio.run(python.call(None, "x")) == "7"
    asyncio.run(python.aclose())


def test_calls_take_turns(backend: BackendName) -> None:
    """Calls made at once run one after the other."""

    async def together() -> list[str]:
        python = Python(backend)
        answers = await asyncio.gather(*(python.call(None, f"print({n}); {n}") for n in range(5)))
        await python.aclose()
        return answers

    assert asyncio.run(together()) == [f"{n}\n{n}" for n in range(5)]


async def _cancelled_once(python: Python, cell: str) -> None:
    call = asyncio.create_task(python.call(None, cell))
    await asyncio.sleep(0.3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_a_cancelled_call_leaves_a_usable_session(backend: BackendName) -> None:
    """Cancelling interrupts the cell; its late output is forgotten and the variables stay."""

    async def cancelled() -> str:
        python = Python(backend)
        await python.call(None, "x = 5")
        await _cancelled_once(python, "print('lost')\nwhile True: pass")
        answer = await python.call(None, "x")
        await python.aclose()
        return answer

    assert asyncio.run(cancelled()) == "5"


@pytest.mark.usefixtures("short_grace")
def test_a_cancelled_call_that_does_not_stop(backend: BackendName) -> None:
    """The next call kills what ignores the interrupt, says so, and runs nothing in its place."""

    async def cancelled() -> tuple[str, str]:
        python = Python(backend)
        await _cancelled_once(
            python, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
        )
        answers = await python.call(None, "print('ran')"), await python.call(None, "1")
        await python.aclose()
        return answers

    killed, after = asyncio.run(cancelled())
    assert "this one was not run" in killed
    assert "ran\n" not in killed
    assert after == "1"


def test_closing_removes_the_folder(
    run_cells: Cells, backend: BackendName, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After aclose nothing is left of the session's files, however deep or closed they are."""
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    deep = "import os\nfor _ in range(300): os.mkdir('d'); os.chdir('d')\nos.mkdir('shut', 0)"
    assert run_cells(backend, deep) == [NO_OUTPUT]
    assert list(open_folder.iterdir()) == []


def test_the_environment_is_clean(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the host's environment reaches the worker."""
    monkeypatch.setenv("HARMONY_SECRET", "s3cret")
    (text,) = cells("import os; print(*sorted(set(os.environ) - {'PWD'}))")
    assert text == "HOME LANG MALLOC_ARENA_MAX MPLBACKEND MPLCONFIGDIR OMP_NUM_THREADS PATH TMPDIR"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("import asyncio\nawait asyncio.sleep(0, 7)", "7"),
        ("import asyncio\nx = await asyncio.sleep(0, 7)\nx + 1", "8"),
        ("import asyncio\nt = asyncio.ensure_future(asyncio.sleep(0, 7))\nawait t", "7"),
        ("import asyncio\nasync with asyncio.timeout(9): x = 3\nx", "3"),
    ],
)
def test_await_works_at_the_top_level(cells: Cells, code: str, shown: str) -> None:
    """As in a notebook, a cell may await, and the value of the last expression is shown."""
    assert cells(code) == [shown]


def test_tasks_go_on_with_the_next_await(cells: Cells) -> None:
    """One event loop lasts for the session; an error in it is shown as any other."""
    begun, done, error = cells(
        "import asyncio\nawait asyncio.sleep(0)\ntask = asyncio.create_task(asyncio.sleep(0, 5))",
        "await task",
        "await asyncio.sleep(0)\n1 / 0",
    )
    assert (begun, done) == (NO_OUTPUT, "5")
    assert error.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("work", ["await asyncio.sleep(600)", "await asyncio.sleep(0)\nwhile True: pass"])
def test_an_awaiting_cell_is_interrupted(cells: Cells, work: str) -> None:
    """The limit ends a cell in the event loop too, and the loop goes on to serve the next."""
    over, after = cells(f"import asyncio\n{work}", "await asyncio.sleep(0, 'on')", timeout=0.5)
    assert over.endswith("KeyboardInterrupt\n[Interrupted after 0.5 s; variables are kept]")
    assert after == "'on'"


def test_packages_are_there_on_request(cells: Cells) -> None:
    """With `packages`, cells import what is installed here, and cannot change it; else they cannot."""
    pytest.importorskip("numpy")
    code = "import numpy; int(numpy.arange(4) @ numpy.arange(4))"
    assert cells(code)[0].endswith("ModuleNotFoundError: No module named 'numpy'")
    total, written = cells(code, "open(numpy.__file__, 'a')", packages=True)
    assert total == "14"
    assert "Error" in written.splitlines()[-1]


def test_packages_may_be_links(cells: Cells, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, modules and single files that lie elsewhere are imported, and nothing beside them is read."""
    store, site = open_folder / "store", open_folder / "site-packages"
    for name in ("whole/one", "each/sub/two", "chained/three", "space/inner/four", "five", "secret"):
        file = store / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"name = {name!r}\n")
    (store / "each" / "__init__.py").touch()
    (site / "each" / "sub").mkdir(parents=True)
    (site / "space" / "inner").mkdir(parents=True)
    (open_folder / "link").symlink_to("store/chained")
    (site / "whole").symlink_to(store / "whole")
    (site / "chained").symlink_to("../link")
    for file in ("each/__init__.py", "each/sub/two.py", "space/inner/four.py", "five.py"):
        (site / file).symlink_to(store / file)
    monkeypatch.setattr("sys.path", [str(site)])
    imports = "import whole.one, each.sub.two, chained.three, space.inner.four, five"
    shown, beside = cells(
        f"{imports}\nwhole.one.name, each.sub.two.name, chained.three.name, space.inner.four.name, five.name",
        f"open({str(store / 'secret.py')!r})",
        packages=True,
    )
    assert shown == "('whole/one', 'each/sub/two', 'chained/three', 'space/inner/four', 'five')"
    assert beside.splitlines()[-1].startswith(("FileNotFoundError", "PermissionError"))


def test_show_saves_a_figure(backend: BackendName) -> None:
    """plt.show() saves each open figure as a PNG beside the other files and prints its name."""
    pytest.importorskip("matplotlib")
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.figure(); plt.plot([2, 1]); plt.show()"

    async def plotted() -> tuple[str, bytes]:
        python = Python(backend, packages=True)
        shown = await python.call(None, plot)
        figure = python.read_file("figure-2.png")
        await python.aclose()
        return shown, figure

    shown, figure = asyncio.run(plotted())
    assert [line.rpartition("/")[2] for line in shown.splitlines()[-2:]] == ["figure-1.png]", "figure-2.png]"]
    assert figure.startswith(b"\x89PNG")
