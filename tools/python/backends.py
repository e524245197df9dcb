"""The ways to start a worker that cannot reach the machine it runs on.

- bubblewrap: mounts, processes, network and IPC of its own, with Landlock and the system call filter on top;
  /mnt/data is a mount. Needs bwrap, and user namespaces or root.
- landlock: Landlock and the filter alone. Names, sizes and times of the machine's files can still be looked
  up by who knows the path; cells run in a private folder, and there is no /mnt/data. Needs Linux 5.13.
- unconfined: nothing is hidden; the private folder is where cells start. Has to be asked for by name.

Under root a confined worker becomes a user that no account has. All share the limits on memory, file size,
descriptors and threads; none can limit the disk while it is written, so the session watches the folder.
Files removed while open escape the watch: at most `descriptors` times `file_size`, until the worker ends.
"""

import os
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmony.errors import SandboxUnavailableError
from harmony.tools.python.workspace import Workspace

BackendName = Literal["bubblewrap", "landlock", "unconfined"]

_LIBRARIES = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
)
_DATA = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
_DEVICES = ("/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Limits:
    """What a session may take; sizes in bytes."""

    memory: int = 1 << 30
    file_size: int = 128 << 20
    disk: int = 1 << 30
    files: int = 20_000
    descriptors: int = 64
    threads: int = 64


@dataclass(frozen=True)
class Policy:
    """What `confine.confine` is called with, but for the filter, which needs the worker's pid."""

    limits: tuple[tuple[int, int], ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    user: int | None
    landlock_required: bool


@dataclass(frozen=True)
class Launch:
    """How to start a worker: what stands before the interpreter, where, with what environment and policy.

    `pid` is what the worker will know itself as; None where that is the pid its parent sees. `policy` is
    None where nothing confines.
    """

    prefix: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    policy: Policy | None
    pid: int | None = None


def interpreter() -> str:
    """The base interpreter, not that of a virtual environment: the worker gets the standard library alone."""
    return os.path.realpath(str(getattr(sys, "_base_executable", sys.executable)))


def bubblewrap(workspace: Workspace, limits: Limits) -> Launch:
    """A worker in namespaces of its own, in a read-only tree with the standard library and /mnt/data."""
    bwrap = "/usr/bin/bwrap" if os.path.exists("/usr/bin/bwrap") else shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailableError("bwrap is not installed (`apt install bubblewrap`)")
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    # Real root cannot become another user inside a user namespace that maps only root; it needs none.
    options += (
        ["--unshare-user"]
        if workspace.user is None
        else ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    )
    # Not --as-pid-1: bwrap, without capabilities, may not kill a worker that became another user, but its own
    # init may be killed, and takes every process of the namespace with it.
    options += ["--die-with-parent", "--hostname", "sandbox"]
    options += [*_parents("/mnt/data"), "--bind", str(workspace.data), "/mnt/data"]
    options += ["--bind", str(workspace.temporary), "/tmp"]
    for path in _readable():
        options += [*_parents(path), "--ro-bind", path, path]
    for device in ("/dev/null", *_DEVICES):
        options += ["--dev-bind", device, device]
    options += ["--remount-ro", "/", "--chdir", "/mnt/data", "--"]
    policy = _policy(workspace, limits, ("/mnt/data", "/tmp"), landlock_required=False)
    return Launch((bwrap, *options), workspace.root, _environment("/mnt/data", "/tmp"), policy, pid=2)


def landlock(workspace: Workspace, limits: Limits) -> Launch:
    """A worker among the machine's files, of which Landlock leaves it the standard library and its folder."""
    writable = (str(workspace.data), str(workspace.temporary))
    policy = _policy(workspace, limits, writable, landlock_required=True)
    return Launch((), workspace.data, _environment(*writable), policy)


def unconfined(workspace: Workspace, limits: Limits) -> Launch:
    """A worker with all the rights of its host."""
    environment = _environment(str(workspace.data), str(workspace.temporary))
    return Launch((), workspace.data, environment, policy=None)


BACKENDS: dict[BackendName, Callable[[Workspace, Limits], Launch]] = {
    "bubblewrap": bubblewrap,
    "landlock": landlock,
    "unconfined": unconfined,
}


def _policy(
    workspace: Workspace, limits: Limits, writable: tuple[str, ...], *, landlock_required: bool
) -> Policy:
    # The kernel counts threads per user; an ordinary user's other processes count too.
    others = _threads_of(os.geteuid()) if workspace.user is None else 0
    bounds = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.descriptors),
        (resource.RLIMIT_NPROC, limits.threads + others),
        (resource.RLIMIT_MEMLOCK, 0),
    )
    return Policy(
        bounds, (*_readable(), *_DEVICES), (*writable, "/dev/null"), workspace.user, landlock_required
    )


def _readable() -> tuple[str, ...]:
    """The interpreter, its standard library, and what both load; only what exists."""
    prefix = os.path.realpath(sys.base_prefix)
    own = (interpreter(), os.path.join(prefix, sys.platlibdir), os.path.join(prefix, "lib"))
    return tuple(path for path in dict.fromkeys((*_LIBRARIES, *own, *_DATA)) if os.path.exists(path))


def _parents(path: str) -> list[str]:
    """Options that make the folders above a mount; left to itself, bwrap makes them for root alone."""
    return [option for parent in reversed(Path(path).parents[:-1]) for option in ("--dir", str(parent))]


def _environment(home: str, temporary: str) -> dict[str, str]:
    # glibc reserves 64 MiB of address space for each arena, all of it counted by the memory limit.
    return {
        "HOME": home,
        "TMPDIR": temporary,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
    }


def _threads_of(user: int) -> int:
    count = 0
    for process in Path("/proc").glob("[0-9]*/task"):
        try:
            status = process.stat()
        except OSError:
            continue
        if status.st_uid == user:
            count += status.st_nlink - 2
    return count
