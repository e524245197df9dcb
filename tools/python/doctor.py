"""What confines the python tool on this machine, found out by trying.

Each back end is started, and code in it tries what the sandbox promises to refuse; each layer of the kernel
is tried in a process of its own. Nothing is concluded from a version or from a file that is there.
"""

import ast
import asyncio
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from harmony.errors import SandboxUnavailableError
from harmony.tools.python.backends import BACKENDS, BackendName, interpreter
from harmony.tools.python.tool import Python

_PROMISES = {
    "the machine's files": "open('/etc/passwd')",
    "network": "socket.socket()",
    "unix sockets": "socket.socket(socket.AF_UNIX)",
    "processes": "os.fork()",
    "programs": "os.execv(sys.executable, ['python'])",
    "signals": "os.kill(1, 0)",
    "hidden memory": "os.memfd_create('m')",
    "memory over 1 GiB": "bytearray(1 << 30)",
    "a file over 128 MiB": "os.posix_fallocate(os.open('f', os.O_CREAT | os.O_WRONLY), 0, 129 << 20)",
    "devices": "os.mknod('d', 0o20666, os.makedev(1, 1))",
}
_TRIAL = """
import os, signal, socket, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def refused(attempt):
    try: exec(attempt)
    except (OSError, MemoryError): return True
    return False
print([promise for promise, attempt in {promises!r}.items() if not refused(attempt)])
"""
_FOLDERS = "import os; print([p for p in ('/etc', '/home', '/root', '/proc', '/sys') if os.path.exists(p)])"
_USES: dict[BackendName, tuple[str, str]] = {
    "bubblewrap": ("taken first", "taken first where it works"),
    "landlock": ("taken where bubblewrap does not work", "a fallback where bubblewrap does not work"),
    "gvisor": ("taken by name", "by name, a second kernel between the code and this one"),
    "docker": ("taken by name", "by name, a container with the same layers inside"),
}
INTRODUCTION = f"A back end holds (yes) when code in it was refused: {', '.join(_PROMISES)}."

# Each is a program that ends with 0 where the layer holds, and what the layer covers.
_C = "import ctypes, os, resource, struct, sys; c = ctypes.CDLL(None, use_errno=True)\n"
_LAYERS = {
    "user namespaces": (
        "sys.exit(c.unshare(0x10000000) != 0)",
        "bubblewrap for an ordinary user: mounts, processes and network of its own",
        "allow them: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0 (as root, "
        "bubblewrap does without)",
    ),
    "Landlock": (
        "sys.exit(c.syscall(444, None, ctypes.c_size_t(0), 1) < 1)",
        "which files can be opened, read and changed",
        "use a kernel of 5.13 or later, with landlock in its lsm= list",
    ),
    "seccomp": (
        "allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000), 8)\n"
        "program = struct.pack('@HP', 1, ctypes.addressof(allow))\n"
        "sys.exit(c.prctl(38, 1, 0, 0, 0) or c.prctl(22, 2, program, 0, 0) != 0)",
        "which system calls there are: no sockets, processes, mounts, tracing",
        "use a kernel built with CONFIG_SECCOMP_FILTER",
    ),
    "memory limit": (
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\n"
        "try: bytearray(1 << 28)\n"
        "except MemoryError: sys.exit(0)\n"
        "sys.exit(1)",
        "the address space of the one process that a session is",
        "use a kernel that holds RLIMIT_AS",
    ),
    "another user": (
        "os.setgroups([]); os.setresuid(1987654321, 1987654321, 1987654321)",
        "what is left: a worker that belongs to no account",
        "only root can; an ordinary user's worker keeps that user's id, within the layers above",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One line: what was tried, whether it holds, and what it covers or what is to be done.

    `confines` is set for a back end that kept every promise.
    """

    name: str
    holds: bool
    text: str
    confines: bool = False

    def __str__(self) -> str:
        return f"{'yes' if self.holds else 'no':<4}{self.name:<17}{self.text}"


def examine() -> Iterator[Finding]:
    """Try each back end, then each layer, and tell one after the other; takes seconds."""
    for name in BACKENDS:
        if name != "unconfined":
            yield _tried(name)
    for layer, (program, covers, advice) in _LAYERS.items():
        done = subprocess.run([interpreter(), "-I", "-S", "-c", _C + program], capture_output=True)
        holds = done.returncode == 0
        yield Finding(layer, holds, covers if holds else f"it would give {covers}; {advice}")
    yield Finding("disk quota", False, "no layer has one: each session's folder is measured twice a second")


def _tried(name: BackendName) -> Finding:
    use, otherwise = _USES[name]
    start = time.perf_counter()
    try:
        ready, broken, seen = asyncio.run(_session(name))
    except SandboxUnavailableError as error:
        return Finding(name, False, f"{error} ({otherwise})")
    if broken:
        return Finding(name, False, f"does not refuse {', '.join(broken)}: do not use it, and report this")
    names = f"; that {', '.join(seen)} exist can be seen" if seen else ""
    return Finding(name, True, f"{use}; ready in {1000 * (ready - start):.0f} ms{names}", confines=True)


async def _session(name: BackendName) -> tuple[float, list[str], list[str]]:
    """When it was ready, the promises that a session broke, and the folders whose names it can see."""
    python = Python(name)
    try:
        await python.call(None, "1")
        ready = time.perf_counter()
        printed = [await python.call(None, cell) for cell in (_TRIAL.format(promises=_PROMISES), _FOLDERS)]
    finally:
        await python.aclose()
    try:
        broken, seen = map(ast.literal_eval, printed)
    except (SyntaxError, ValueError):
        broken, seen = [f"what ends the worker ({' '.join(printed[0].split())[-200:]})"], []
    return ready, list(broken), list(seen)
