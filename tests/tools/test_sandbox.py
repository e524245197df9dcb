"""What code in the sandbox must not do to the machine it runs on; in each back end that is there."""

import asyncio
import errno
import os
import platform
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import harmony.errors
from harmony.tools import Python
from harmony.tools.python import BackendName, seccomp

Cells = Callable[..., list[str]]

DENIED = (
    "PermissionError",
    "FileNotFoundError",
    "urllib.error.URLError: <urlopen error [Errno 1]",
    *(f"OSError: [Errno {number}]" for number in (errno.ENOSYS, errno.ENOTSUP, errno.EROFS, errno.EXDEV)),
)
HOME = Path.home()


def denied(text: str) -> bool:
    """Whether a cell ended in a refusal of the system."""
    return text.rstrip().splitlines()[-1].startswith(DENIED)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/passwd",
        "/etc/hostname",
        str(HOME / ".ssh" / "id_rsa"),
        str(HOME / ".bashrc"),
        str(Path(harmony.errors.__file__)),
        __file__,
        "/proc/1/environ",
        "/proc/self/mem",
        "/proc/cpuinfo",
        "/sys/kernel/uevent_helper",
        "/dev/mem",
        "/dev/tty",
        "/var/log/dpkg.log",
    ],
)
def test_files_of_the_host_cannot_be_read(cells: Cells, path: str) -> None:
    """No file but those of the standard library and of the session opens."""
    assert denied(cells(f"open({path!r}, 'rb').read(1)")[0])


@pytest.mark.parametrize(
    "folder", ["/", "/root", "/home", "/proc", "/etc", str(HOME), str(Path(__file__).parent)]
)
def test_folders_of_the_host_cannot_be_listed(cells: Cells, folder: str) -> None:
    """No folder but those of the standard library and of the session is listed."""
    assert denied(cells(f"import os; os.listdir({folder!r})")[0])


@pytest.mark.parametrize(
    "path",
    [
        "/etc/planted",
        "/root/planted",
        "/planted",
        "/usr/lib/planted",
        "/dev/shm/planted",
        "/proc/sys/kernel/core_pattern",
    ],
)
def test_nothing_is_written_outside(cells: Cells, path: str) -> None:
    """No file is made or changed outside of the session's folder."""
    assert denied(cells(f"open({path!r}, 'w').write('x')")[0])
    assert not path.endswith("planted") or not os.path.exists(path)


def test_the_standard_library_cannot_be_changed(cells: Cells) -> None:
    """What is readable is not writable, and its mode stays."""
    mode = Path(os.__file__).stat().st_mode
    code = f"import os; os.chmod({os.__file__!r}, 0o777); open({os.__file__!r}, 'a')"
    assert denied(cells(code)[0])
    assert Path(os.__file__).stat().st_mode == mode


@pytest.fixture
def victim(open_folder: Path) -> Path:
    """A file of the host that everyone may read and write."""
    path = open_folder / "victim"
    path.write_text("intact")
    path.chmod(0o666)
    return path


@pytest.mark.parametrize(
    "attack",
    [
        "open(path).read()",
        "open(path, 'w')",
        "open(path, 'a')",
        "os.open(path, os.O_RDONLY | os.O_TRUNC)",
        "os.open(path, 3 | os.O_TRUNC)",
        "os.truncate(path, 0)",
        "os.unlink(path)",
        "os.rename(path, 'mine')",
        "os.rename('own', path)",
        "os.link(path, 'mine')",
        "os.symlink(path, 'mine'); open('mine').read()",
        "os.symlink(path, 'mine'); open('mine', 'w')",
        "os.mkdir(path + '.d')",
        "os.mkfifo(path + '.fifo')",
        "os.setxattr(path, 'user.a', b'x')",
        "os.getxattr(path, 'user.a')",
        "os.listxattr(path)",
    ],
)
def test_a_file_open_to_all_is_out_of_reach(cells: Cells, victim: Path, attack: str) -> None:
    """Even what the host's permissions allow is refused."""
    text = cells(f"import os\nopen('own', 'w').close()\npath = {str(victim)!r}\n{attack}")[0]
    assert denied(text), text
    assert [victim.read_text(), os.listdir(victim.parent)] == ["intact", ["victim"]]


@pytest.mark.parametrize(
    "change", ["os.chmod(path, 0)", "os.utime(path, (1, 1))", "os.chown(path, os.getuid(), os.getgid())"]
)
def test_modes_owners_and_times_stay(
    backend: BackendName, run_cells: Cells, victim: Path, change: str
) -> None:
    """A change of what Landlock does not watch over is not carried out, though it seems to be."""
    before = victim.stat()
    run_cells(backend, f"import os; path = {str(victim)!r}; {change}")
    after = victim.stat()
    assert (before.st_mode, before.st_uid, before.st_mtime) == (after.st_mode, after.st_uid, after.st_mtime)


@pytest.mark.parametrize(
    "cell",
    [
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os\nif os.system('true'): raise PermissionError",
        "import os, sys; os.execv(sys.executable, [sys.executable])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1): pass",
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket; socket.socketpair(type=socket.SOCK_DGRAM)",
        "import socket; socket.socketpair(type=socket.SOCK_SEQPACKET)",
        "import socket; socket.socketpair()[0].connect('/dev/log')",
        "import socket; socket.socketpair()[0].bind('here')",
        "import socket; socket.socketpair()[0].sendto(b'x', '/dev/log')",
        "import socket; socket.socketpair()[0].sendmsg([b'x'])",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import os; os.kill(os.getppid() or 1, 0)",
        "import os; os.kill(-1, 15)",
        "import os; os.kill(0, 15)",
        "import os; os.killpg(0, 15)",
        "import os, fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, 1)",
        "import fcntl; fcntl.fcntl(0, fcntl.F_SETSIG, 9)",
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x')",
        "import os; os.setuid(0)",
        "import os; os.setgroups([0])",
        "import os; os.chroot('.')",
        "import os; os.setsid()",
        "import os; os.setpriority(os.PRIO_PROCESS, 0, 0)",
        "import os; os.sched_setaffinity(0, {0})",
        "import os; os.memfd_create('x')",
        "import os; os.mknod('null', 0o20666, os.makedev(1, 3))",
        "import resource; resource.prlimit(1, resource.RLIMIT_CPU)",
        "import os; os.pidfd_open(os.getpid())",
        "from multiprocessing import shared_memory; shared_memory.SharedMemory(create=True, size=9)",
    ],
)
def test_processes_sockets_and_signals_are_denied(cells: Cells, cell: str) -> None:
    """No process starts, no socket opens, nothing is signalled, and no privilege is taken."""
    text, after = cells(cell, "1")
    assert denied(text), text
    assert after == "1"


def test_raw_system_calls_are_denied(backend: BackendName, run_cells: Cells) -> None:
    """What Python does not offer is refused when it is called by number."""
    table = dict(seccomp.numbers(seccomp.REFUSED, seccomp.this_machine()))
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {table!r}.items():
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    if (result, ctypes.get_errno()) != (-1, 1): print(name, result, ctypes.get_errno())
for number in (435, 437, 444, 445, 446, 500, 0x40000000 + 39):
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    if (result, ctypes.get_errno()) != (-1, 38): print(number, result, ctypes.get_errno())
"done"
"""
    assert run_cells(backend, code) == ["'done'"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 can call as 32-bit code does")
def test_a_32_bit_system_call_kills(cells: Cells) -> None:
    """`int 0x80` reaches no 32-bit system call: the worker dies of it."""
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, getpid; int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    text, after = cells(code, "1")
    assert "The Python session ended (SIGS" in text
    assert after == "1"


def test_threads_are_limited(cells: Cells) -> None:
    """A bomb of threads meets its limit, and the session goes on."""
    code = """
import threading, time
threading.stack_size(1 << 15)
for count in range(100_000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    bomb, after = cells(code, "count < 2000")
    assert "can't start new thread" in bomb
    assert after == "True"


def test_no_descriptor_is_inherited(backend: BackendName, run_cells: Cells, tmp_path: Path) -> None:
    """Beyond its three streams and its channel, the worker holds nothing that leads out."""
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        code = """
import os, stat
for descriptor in range(256):
    try: status = os.fstat(descriptor)
    except OSError: continue
    print(descriptor, stat.filemode(status.st_mode)[0])
"""
        (text,) = run_cells(backend, code)
    kinds = [line.split()[1] for line in text.splitlines()]
    # The folders are those of the standard library, where only root can go by their path.
    assert sorted(kind for kind in kinds if kind != "d") == ["c", "s", "s", "s"]


def test_under_root_the_worker_is_nobody(backend: BackendName, run_cells: Cells) -> None:
    """A worker that root starts runs as a user without account or groups, and as no other session does."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = "import os; print(*os.getresuid(), *os.getresgid(), *os.getgroups())"
    first, second = run_cells(backend, code)[0].split(), run_cells(backend, code)[0].split()
    assert len(set(first)) == 1
    assert len(first) == 6
    assert int(first[0]) >= 65536
    assert first != second
    with pytest.raises(KeyError):
        pwd.getpwuid(int(first[0]))


def test_many_sessions_at_once(backend: BackendName) -> None:
    """Sessions do not see one another, however many there are."""

    async def many() -> list[str]:
        pythons = [Python(backend) for _ in range(20)]
        await asyncio.gather(
            *(python.call(None, f"x = {n}; open('f', 'w').write('{n}')") for n, python in enumerate(pythons))
        )
        answers = await asyncio.gather(
            *(python.call(None, "print(x, open('f').read())") for python in pythons)
        )
        await asyncio.gather(*(python.aclose() for python in pythons))
        return answers

    assert asyncio.run(many()) == [f"{n} {n}" for n in range(20)]


HOST = """
import asyncio, os, signal, sys
from harmony.tools import Python

async def main():
    python = Python(sys.argv[1])
    await python.call(None, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    if sys.argv[2] == "busy":
        asyncio.create_task(python.call(None, "while True: pass"))
        await asyncio.sleep(0.2)
    print(python._workspace.root, flush=True)
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))

asyncio.run(main())
"""


def _workers_in(folder: str) -> list[str]:
    """The processes whose environment names a session's folder, or that run from it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder in os.readlink(process / "cwd") or folder in (process / "cmdline").read_text():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_a_killed_host_leaves_no_process(backend: BackendName, state: str, end: str) -> None:
    """The worker dies with its host, whatever both were doing."""
    host = subprocess.run(
        [sys.executable, "-c", HOST, backend, state, end], stdout=subprocess.PIPE, text=True, check=False
    )
    assert host.returncode == -getattr(signal, end)
    folder = host.stdout.strip()
    for _ in range(500):
        if not _workers_in(folder):
            break
        time.sleep(0.02)
    assert _workers_in(folder) == []
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_host_that_exits_without_closing_leaves_nothing(backend: BackendName) -> None:
    """Forgetting aclose costs neither a process nor a folder, and warns of nothing."""
    code = f"""
import asyncio
from harmony.tools import Python
python = Python({backend!r})
print(asyncio.run(python.call(None, "1")), python._workspace.root)
"""
    host = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert host.stderr == ""
    assert not Path(host.stdout.split()[1]).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_an_ordinary_user_has_a_sandbox_too(backend: BackendName, interpreter_for_all: str) -> None:
    """Without root, the session works, keeps files from being read, and starts no process."""
    if backend in ("gvisor", "docker"):
        pytest.skip("nobody may not speak to the docker daemon")
    interpreter = interpreter_for_all
    code = f"""
import asyncio, os, sys
from harmony.tools import Python
import harmony.tools.python.tool, concurrent.futures.thread, encodings.idna
sys._base_executable, sys.base_prefix = {interpreter!r}, {str(Path(interpreter).parent.parent)!r}
os.chdir("/")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ["HOME"] = "/"

async def main():
    python = Python({backend!r}, timeout=0.5)
    for cell in ("import os; os.getuid()", "open('f', 'w').write('x')", "open('/etc/passwd')", "os.fork()",
                 "os.chmod('f', 0)", "open('f').read()", "while True: pass", "import threading; t = "
                 "threading.Thread(target=print, args=('t',)); t.start(); t.join()", "os.listdir('/tmp')"):
        print((await python.call(None, cell)).splitlines()[-1])
    await python.aclose()
asyncio.run(main())
"""
    host = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    *lines, listing = host.stdout.splitlines() or [host.stderr]
    assert listing == "[]" if backend == "bubblewrap" else denied(listing)
    assert [lines[0], lines[1], *lines[4:]] == [
        "65534",
        "1",
        "The code ran and printed nothing. Use print() to see a value.",
        "'x'",
        "[Interrupted after 0.5 s; variables are kept]",
        "t",
    ]
    assert denied(lines[2])
    assert denied(lines[3])
