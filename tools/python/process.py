"""The worker's process as its host holds it: started, introduced, signalled, ended.

The worker gets two sockets: its channel and, as descriptors 1 and 2, its output. Its pid and user come from
the kernel (SCM_CREDENTIALS), which translates them out of any namespace, so the worker cannot lie about
either. The kernel kills the worker when the thread that started it ends, so start it from a lasting one.
A worker in a container is reached through a supervisor there (see `enclosed`), and ends with its stream.
"""

import asyncio
import marshal
import os
import signal
import socket
import struct
import subprocess
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import CodeType

from harmony.errors import SandboxUnavailableError
from harmony.tools.python import enclosed, seccomp
from harmony.tools.python.backends import Launch, interpreter
from harmony.tools.python.output import Capture

START_LIMIT = 20.0
_CHUNK, _DRAIN = 1 << 16, 1 << 20
_READY, _PID, _CREDENTIALS = struct.pack("!I", 0), struct.Struct("!I"), struct.Struct("iII")

_BOOT = """
import marshal, sys
with open(int(sys.argv[1]), "rb", closefd=False) as channel:
    policy, packages, confine, worker, figures = marshal.load(channel)
sys.path += packages
scope = {"__name__": "confine"}
exec(confine, scope)
scope["confine"](**policy) if policy else scope["die_with_parent"]()
scope = {"__name__": "worker"}
exec(worker, scope)
scope["serve"](int(sys.argv[1]), figures)
"""


class Worker:
    """A process that is ready for cells, with its sockets set not to block; `start_worker` makes one."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        channel: socket.socket,
        output: socket.socket,
        signal_it: Callable[[signal.Signals], None] | None,
    ) -> None:
        self.channel = channel
        self.output = output
        self.pid = process.pid
        self._process = process
        self._signal_it = signal_it or (lambda number: os.kill(self.pid, number))
        self._end = weakref.finalize(self, _end, process, channel, output)

    @property
    def open(self) -> bool:
        """Whether `close` has not been called."""
        return self._end.alive

    @property
    def ended(self) -> str | None:
        """How the process ended, in words; None while it runs."""
        status = self._process.poll()
        return None if status is None else _words(status)

    def send(self, number: signal.Signals) -> None:
        """Signal the worker itself, which is a descendant where bubblewrap stands between."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._signal_it(number)

    def take_output(self, captured: Capture) -> bool:
        """Add one piece of what lies ready, or raise BlockingIOError; False at the end of all output."""
        data = self.output.recv(_CHUNK)
        captured.add(data)
        return bool(data)

    def drain(self, captured: Capture) -> Capture:
        """Add all that lies ready, within bounds, since a thread may go on printing."""
        with suppress(BlockingIOError):
            for _ in range(_DRAIN // _CHUNK):
                self.take_output(captured)
        return captured

    def kill(self) -> None:
        """Kill the process; what it has printed can still be read."""
        self.send(signal.SIGKILL)
        _kill(self._process)

    def close(self) -> None:
        """Kill the process and close the sockets."""
        self.send(signal.SIGKILL)
        self._end()


async def start_worker(launch: Launch) -> Worker:
    """Start a worker and wait until it has confined itself; SandboxUnavailableError says why it could not."""
    channel, theirs = socket.socketpair()
    output, printed = socket.socketpair()
    try:
        worker = _start(launch, channel, theirs, output, printed)
    except OSError as error:
        for end in (channel, theirs, output, printed):
            end.close()
        raise SandboxUnavailableError(f"the worker cannot be started: {error}") from error
    output.shutdown(socket.SHUT_WR)
    channel.setblocking(False)
    output.setblocking(False)
    try:
        worker.pid = await _introduce(worker.pid, channel, launch)
    except (OSError, TimeoutError):
        last_words = worker.drain(Capture()).text().strip().splitlines() or ["the worker did not start"]
        worker.close()
        raise SandboxUnavailableError(last_words[-1]) from None
    except BaseException:
        worker.close()
        raise
    worker.drain(Capture())  # warnings of what stands before it
    return worker


def _start(
    launch: Launch,
    channel: socket.socket,
    theirs: socket.socket,
    output: socket.socket,
    printed: socket.socket,
) -> Worker:
    """A process with the far ends of the sockets, or with a supervisor at its streams that has them."""
    python = [interpreter(), "-I", "-S", "-B", "-X", "utf8", "-c"]
    if launch.enclosed:
        process = subprocess.Popen(
            [*launch.prefix, *python, enclosed.program(), *python, _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed.fileno(),
            cwd=launch.folder,
            env=launch.environment,
            start_new_session=True,
        )
        return Worker(process, channel, output, enclosed.Streams(process, theirs, printed).signal)
    with theirs, printed:
        process = subprocess.Popen(
            [*launch.prefix, *python, _BOOT, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=printed.fileno(),
            stderr=printed.fileno(),
            pass_fds=(theirs.fileno(),),
            cwd=launch.folder,
            env=launch.environment,
            start_new_session=True,
        )
    return Worker(process, channel, output, None)


async def _introduce(started: int, channel: socket.socket, launch: Launch) -> int:
    """Send the worker its policy and its code; the pid that it has here, vouched for by the kernel.

    A worker in a container has none here; that of the process which holds the container stands for it.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(START_LIMIT):
        known = _PID.unpack(await _exactly(channel, _PID.size))[0] if launch.enclosed else launch.pid
        policy = None
        if launch.policy is not None:
            system_calls = seccomp.program(seccomp.this_machine(), known or started)
            policy = asdict(launch.policy) | {"system_calls": system_calls}
        sources = ("confine.py", "worker.py", "figures.py")
        parcel = marshal.dumps((policy, list(launch.packages), *map(_code, sources)))
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        await loop.sock_sendall(channel, parcel)
        await _readable(channel)
    ready, ancillary, _, _ = channel.recvmsg(len(_READY), socket.CMSG_SPACE(_CREDENTIALS.size))
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    if ready != _READY or not ancillary:
        raise ConnectionError
    if launch.enclosed:
        return started
    pid, user, _ = _CREDENTIALS.unpack(ancillary[0][2])
    if launch.policy and launch.policy.user not in (None, user):
        raise SandboxUnavailableError(f"the worker still runs as user {user}")
    return int(pid)


async def _exactly(channel: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = await asyncio.get_running_loop().sock_recv(channel, size - len(received))
        if not part:
            raise ConnectionError
        received += part
    return received


@cache
def _code(name: str) -> CodeType:
    return compile(Path(__file__).with_name(name).read_text("utf-8"), f"<{name}>", "exec")


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(channel, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel)


def _words(status: int) -> str:
    """An exit status in words; bubblewrap reports a signal as 128 and its number."""
    number = -status if status < 0 else status - 128
    if number in {known.value for known in signal.Signals}:
        return signal.Signals(number).name
    return f"exit status {status}"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _end(process: "subprocess.Popen[bytes]", channel: socket.socket, output: socket.socket) -> None:
    _kill(process)
    channel.close()
    output.close()
