"""The ways to start a worker that cannot reach the machine it runs on.

- bubblewrap: mounts, processes, network and IPC of its own, with Landlock and the system call filter on top;
  /mnt/data is a mount. Needs bwrap, and user namespaces or root.
- landlock: Landlock and the filter alone. Names, sizes and times of the machine's files can still be looked
  up by who knows the path; cells run in a private folder, and there is no /mnt/data. Needs Linux 5.13.
- docker: a container of an empty image, which is made when it is first needed; nothing is downloaded. The
  interpreter and its library are mounted as they are here, /mnt/data too, and the worker confines itself in
  it as ever. By name only. Needs docker, and its daemon on this machine, not rootless.
- gvisor: such a container on gVisor's kernel instead of this machine's. By name only. Needs runsc as a
  runtime of docker.
- unconfined: nothing is hidden; the private folder is where cells start. Has to be asked for by name.

Under root a confined worker becomes a user that no account has. All share the limits on memory, file size,
descriptors and threads; none can limit the disk while it is written, so the session watches the folder.
Files removed while open escape the watch: at most `descriptors` times `file_size`, until the worker ends.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harmony.errors import SandboxUnavailableError
from harmony.tools.python.packages import linked
from harmony.tools.python.workspace import Workspace

BackendName = Literal["bubblewrap", "landlock", "gvisor", "docker", "unconfined"]
"""What can confine a session of python; "unconfined" is nothing."""

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
_DATA = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
_IMAGE = "harmony-empty:1"
_CLIENT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
_DEVICES = ("/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Limits:
    """What a session may take, in bytes and numbers.

    `memory` is the address space of its process, `file_size` that of one file, `disk` all that lies in its
    folders, in at most `files` files; `descriptors` are open at once, and `threads` run.
    """

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

    `packages` are folders that cells import from besides the standard library. `pid` is what the worker will
    know itself as; None where that is the pid its parent sees. `policy` is None where nothing confines.
    `enclosed` is a worker that shares no descriptor with its host, only the streams of what stands before it.
    """

    prefix: tuple[str, ...]
    folder: Path
    environment: dict[str, str]
    policy: Policy | None
    packages: tuple[str, ...] = ()
    pid: int | None = None
    enclosed: bool = False


def interpreter() -> str:
    """The base interpreter, not that of a virtual environment: the worker gets the standard library alone."""
    return os.path.realpath(str(getattr(sys, "_base_executable", sys.executable)))


def bubblewrap(workspace: Workspace, limits: Limits, packages: tuple[str, ...] = ()) -> Launch:
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
    for path in _readable(packages):
        options += [*_parents(path), "--ro-bind", path, path]
    for device in ("/dev/null", *_DEVICES):
        options += ["--dev-bind", device, device]
    options += ["--remount-ro", "/", "--chdir", "/mnt/data", "--"]
    writable = ("/mnt/data", "/tmp")
    policy = _policy(workspace, limits, _readable(packages), writable, landlock_required=False)
    environment = _environment(*writable)
    return Launch((bwrap, *options), workspace.root, environment, policy, packages, pid=2)


def landlock(workspace: Workspace, limits: Limits, packages: tuple[str, ...] = ()) -> Launch:
    """A worker among the machine's files, of which Landlock leaves it the standard library and its folder."""
    writable = (str(workspace.data), str(workspace.temporary))
    policy = _policy(workspace, limits, _readable(packages), writable, landlock_required=True)
    return Launch((), workspace.data, _environment(*writable), policy, packages)


def unconfined(workspace: Workspace, limits: Limits, packages: tuple[str, ...] = ()) -> Launch:
    """A worker with all the rights of its host."""
    environment = _environment(str(workspace.data), str(workspace.temporary))
    return Launch((), workspace.data, environment, None, packages)


def docker(
    workspace: Workspace, limits: Limits, packages: tuple[str, ...] = (), runtime: str | None = None
) -> Launch:
    """A worker in a container that holds nothing but the interpreter, its library and /mnt/data."""
    program = shutil.which("docker")
    if program is None:
        raise SandboxUnavailableError("docker is not installed (`apt install docker.io`)")
    _make_image(program)
    user, group = (workspace.user,) * 2 if workspace.user else (os.geteuid(), os.getegid())
    options = ["--rm", "--interactive", "--pull=never", "--log-driver=none", "--network=none", "--ipc=none"]
    options += ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--hostname=sandbox"]
    options += [f"--user={user}:{group}", "--workdir=/mnt/data"]
    options += [f"--memory={2 * limits.memory}", f"--pids-limit={limits.threads + 16}"]
    options += [f"--runtime={runtime}"] if runtime else []
    options += [_mount(str(workspace.data), "/mnt/data"), _mount(str(workspace.temporary), "/tmp")]
    options += [_mount(os.path.realpath(path), path) + ",readonly" for path in _readable(packages)]
    writable = ("/mnt/data", "/tmp")
    environment = _environment(*writable)
    options += [f"--env={name}={value}" for name, value in environment.items()]
    policy = _policy(workspace, limits, _readable(packages), writable, landlock_required=False)
    client = {name: os.environ[name] for name in _CLIENT if name in os.environ}
    prefix = (program, "run", *options, "--entrypoint=", _IMAGE)
    return Launch(prefix, workspace.root, client, replace(policy, user=None), packages, enclosed=True)


def gvisor(workspace: Workspace, limits: Limits, packages: tuple[str, ...] = ()) -> Launch:
    """A worker in such a container, on gVisor's kernel instead of this machine's."""
    program = shutil.which("docker")
    if program is None:
        raise SandboxUnavailableError("docker, which starts gVisor's runsc, is not installed")
    if "runsc" not in _ask_docker(
        program, "info", "--format={{range $name, $_ := .Runtimes}}{{$name}} {{end}}"
    ):
        raise SandboxUnavailableError(
            "docker has no runtime runsc (https://gvisor.dev/docs/user_guide/install, then `runsc install`)"
        )
    return docker(workspace, limits, packages, runtime="runsc")


BACKENDS: dict[BackendName, Callable[[Workspace, Limits, tuple[str, ...]], Launch]] = {
    "bubblewrap": bubblewrap,
    "landlock": landlock,
    "gvisor": gvisor,
    "docker": docker,
    "unconfined": unconfined,
}
"""How each of them starts a session."""


def _make_image(program: str) -> None:
    """Have docker know an image without a file; an archive ends with two blocks of zeros."""
    if not _ask_docker(program, "images", "--quiet", _IMAGE).strip():
        _ask_docker(program, "import", "-", _IMAGE, stdin=bytes(1024))


def _ask_docker(program: str, *arguments: str, stdin: bytes = b"") -> str:
    try:
        done = subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxUnavailableError("the docker daemon does not answer") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["docker failed"]
        raise SandboxUnavailableError(words[-1])
    return done.stdout.decode(errors="replace")


def _mount(source: str, target: str) -> str:
    if "," in source:
        raise SandboxUnavailableError(f"docker cannot mount {source}: a comma is in its name")
    return f"--mount=type=bind,source={source},target={target}"


def _policy(
    workspace: Workspace,
    limits: Limits,
    readable: tuple[str, ...],
    writable: tuple[str, ...],
    *,
    landlock_required: bool,
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
    return Policy(bounds, (*readable, *_DEVICES), (*writable, "/dev/null"), workspace.user, landlock_required)


def _readable(packages: tuple[str, ...]) -> tuple[str, ...]:
    """The interpreter, its standard library, what both load, and packages; only what exists."""
    targets = (target for folder in packages for target in linked(folder))
    prefix = os.path.realpath(sys.base_prefix)
    own = (interpreter(), os.path.join(prefix, sys.platlibdir), os.path.join(prefix, "lib"))
    return tuple(
        path
        for path in dict.fromkeys((*_LIBRARIES, *own, *_DATA, *packages, *targets))
        if os.path.exists(path)
    )


def _parents(path: str) -> list[str]:
    """Options that make the folders above a mount; left to itself, bwrap makes them for root alone."""
    return [option for parent in reversed(Path(path).parents[:-1]) for option in ("--dir", str(parent))]


def _environment(home: str, temporary: str) -> dict[str, str]:
    # glibc reserves 64 MiB of address space for each arena, OpenBLAS as much for each thread, all of it
    # counted by the memory limit.
    return {
        "HOME": home,
        "TMPDIR": temporary,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "module://harmony_figures",
        "MPLCONFIGDIR": temporary,
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
