"""What the python tool costs, and what it leaves behind.

    python tests/bench/python_tool.py [--cells N] [--sessions N]

For each back end that works here: the time until the first cell has answered, the time of a trivial cell,
what grows over many cells, many sessions at once, and what is left of a host that was killed.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harmony.errors import SandboxUnavailableError
from harmony.tools import Python
from harmony.tools.python import BACKENDS, BackendName

STARTS, WARM = 21, 200

KILLED = """
import asyncio, os, sys
from harmony.tools import Python
python = Python(sys.argv[1])
asyncio.run(python.call(None, "open('left', 'w').close()"))
print(python._session._worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""


async def ready(backend: BackendName, starts: int) -> list[float]:
    """Seconds from nothing to the answer of the first cell, sorted."""
    times = []
    for _ in range(starts):
        python = Python(backend)
        start = time.perf_counter()
        await python.call(None, "1")
        times.append(time.perf_counter() - start)
        await python.aclose()
    return sorted(times)


async def soak(backend: BackendName, cells: int) -> tuple[float, dict[str, int]]:
    """Seconds of a trivial cell (median), and what grew from the first tenth of the cells to the last."""
    python = Python(backend)
    for _ in range(WARM):
        await python.call(None, "x = 1; x")
    assert python._session is not None
    assert python._workspace is not None
    worker, folder = python._session._worker.pid, python._workspace.root
    times, before = [], {}
    for number in range(cells):
        start = time.perf_counter()
        answer = await python.call(None, f"x = {number}; x")
        times.append(time.perf_counter() - start)
        assert answer == str(number)
        if number == cells // 10:
            before = _size(worker, folder)
    after = _size(worker, folder)
    await python.aclose()
    return statistics.median(times), {name: after[name] - before[name] for name in after}


async def crowd(backend: BackendName, sessions: int) -> tuple[float, int]:
    """Seconds until as many sessions have answered at once and are closed; how many answered rightly."""
    start = time.perf_counter()
    pythons = [Python(backend) for _ in range(sessions)]
    try:
        await asyncio.gather(*(python.call(None, f"x = {n}") for n, python in enumerate(pythons)))
        answers = await asyncio.gather(*(python.call(None, "x") for python in pythons))
    finally:
        await asyncio.gather(*(python.aclose() for python in pythons))
    return time.perf_counter() - start, sum(a == str(n) for n, a in enumerate(answers))


def killed(backend: BackendName) -> tuple[bool, list[str]]:
    """Whether the worker of a host that was killed is gone, and the folders left after the next session."""
    with tempfile.TemporaryDirectory(prefix="harmony-bench-", dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        environment = {**os.environ, "TMPDIR": folder}
        host = [sys.executable, "-c", KILLED, backend]
        done = subprocess.run(host, stdout=subprocess.PIPE, text=True, env=environment, check=False)
        for _ in range(200):
            if gone := not _runs(int(done.stdout)):
                break
            time.sleep(0.05)
        after = "import asyncio, sys; from harmony.tools import Python; p = Python(sys.argv[1]); "
        after += "asyncio.run(p.call(None, '1')); asyncio.run(p.aclose())"
        subprocess.run([sys.executable, "-c", after, backend], env=environment, check=True)
        return gone, sorted(path.name for path in Path(folder).iterdir())


def _size(worker: int, folder: Path) -> dict[str, int]:
    """KiB of memory and descriptors of host and worker, threads of the worker, entries on disk."""
    return {
        "host KiB": _status(os.getpid(), "VmRSS"),
        "worker KiB": _status(worker, "VmRSS"),
        "worker threads": _status(worker, "Threads"),
        "host descriptors": len(os.listdir("/proc/self/fd")),
        "files": sum(1 for _ in folder.rglob("*")),
    }


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--cells", type=int, default=10_000)
    options.add_argument("--sessions", type=int, default=100)
    chosen = options.parse_args()
    for name in BACKENDS:
        if name == "unconfined":
            continue
        try:
            starts = asyncio.run(ready(name, STARTS))
        except SandboxUnavailableError as error:
            print(f"{name}: {error}")
            continue
        median, fastest = 1e3 * statistics.median(starts), 1e3 * starts[0]
        print(f"{name}: ready in {median:.0f} ms (median of {STARTS}, fastest {fastest:.0f})", flush=True)
        cell, growth = asyncio.run(soak(name, chosen.cells))
        grown = ", ".join(f"{number:+} {what}" for what, number in growth.items())
        print(f"{name}: {1e3 * cell:.2f} ms a trivial cell; from cell {chosen.cells // 10} to ", end="")
        print(f"{chosen.cells}: {grown}", flush=True)
        seconds, right = asyncio.run(crowd(name, chosen.sessions))
        print(f"{name}: {chosen.sessions} sessions at once in {seconds:.1f} s, {right} answered rightly")
        gone, left = killed(name)
        print(f"{name}: host killed: worker {'gone' if gone else 'LEFT'}, folders left: {len(left)}")


if __name__ == "__main__":
    main()
