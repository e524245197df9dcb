"""Stand between a worker in a container and its host, who has nothing but the container's standard streams.

The source of this file is the program of the container's first process. It starts the worker, passes bytes
both ways, signals the worker when the host says so, and ends with it; when the host is gone, so is the
container. On the streams are frames: `!BI`, a kind and a size, then so many bytes; a signal has its number
as size, and no bytes. It imports only the standard library, and it waits for no side alone, so that a
signal always gets through.
"""

import ctypes
import os
import select
import signal
import socket
import struct
import sys

FRAME = struct.Struct("!BI")
CHANNEL, OUTPUT, SIGNAL = 0, 1, 2
_CHUNK, _MOST = 1 << 16, 1 << 20
_PR_SET_DUMPABLE = 4


def supervise(*command: str) -> None:
    """Run `command`, to which the number of its channel is added, and send its pid (`!I`) before all else."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # closed to a worker that is the same user
    channel, theirs = socket.socketpair()
    output, printed = socket.socketpair()
    theirs.set_inheritable(True)
    streams = (os.open(os.devnull, os.O_RDONLY), printed.fileno(), printed.fileno())
    worker = os.posix_spawn(
        command[0],
        [*command, str(theirs.fileno())],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(streams)],
    )
    theirs.close()
    printed.close()
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    _Relay(worker, channel, output).run()


class _Relay:
    """What was read on one side and is not yet written on the other."""

    def __init__(self, worker: int, channel: socket.socket, output: socket.socket) -> None:
        self._worker = worker
        self._channel = channel
        self._output = output
        self._open = [channel, output]
        self._heard = bytearray()
        self._to_worker = bytearray()
        self._to_host = bytearray(_frame(CHANNEL, struct.pack("!I", worker)))

    def run(self) -> None:
        while True:
            reading: list[int | socket.socket] = [0, *self._open] if len(self._to_host) < _MOST else [0]
            writing: list[int | socket.socket] = [1] if self._to_host else []
            if self._to_worker:
                writing.append(self._channel)
            pause = None if self._channel in self._open else 0.02
            readable, writable, _ = select.select(reading, writing, [], pause)
            if 1 in writable:
                del self._to_host[: os.write(1, self._to_host)]
            if self._channel in writable:
                self._write()
            if 0 in readable:
                self._hear()
            if self._output in readable:
                self._take(self._output, OUTPUT)
            if self._channel in readable:
                self._drain()  # what was printed before a reply is passed before it
                self._take(self._channel, CHANNEL)
            if self._channel not in self._open:
                self._end_with_the_worker()

    def _hear(self) -> None:
        """Take in what the host says, and do it as far as it is complete."""
        data = os.read(0, _CHUNK)
        if not data:
            os.kill(self._worker, signal.SIGKILL)
            os._exit(1)
        self._heard += data
        while len(self._heard) >= FRAME.size:
            kind, size = FRAME.unpack_from(self._heard)
            end = FRAME.size + (0 if kind == SIGNAL else size)
            if len(self._heard) < end:
                return
            if kind == SIGNAL:
                os.kill(self._worker, size)
            elif self._channel in self._open:
                self._to_worker += self._heard[FRAME.size : end]
            del self._heard[:end]

    def _write(self) -> None:
        try:
            del self._to_worker[: self._channel.send(self._to_worker)]
        except ConnectionError:
            self._to_worker.clear()

    def _take(self, end: socket.socket, kind: int) -> None:
        """Pass on what lies ready; nothing at all says that the worker closed this end."""
        try:
            data = end.recv(_CHUNK)
        except ConnectionError:
            data = b""
        self._to_host += _frame(kind, data)
        if not data:
            self._open.remove(end)

    def _drain(self) -> None:
        while (
            self._output in self._open
            and len(self._to_host) < 2 * _MOST
            and select.select([self._output], [], [], 0)[0]
        ):
            self._take(self._output, OUTPUT)

    def _end_with_the_worker(self) -> None:
        """End as the worker did, once it has, and once its last words are passed on."""
        ended, status = os.waitpid(self._worker, os.WNOHANG)
        if not ended:
            return
        self._drain()
        os.set_blocking(1, True)
        while self._to_host:
            del self._to_host[: os.write(1, self._to_host)]
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _frame(kind: int, data: bytes) -> bytes:
    return FRAME.pack(kind, len(data)) + data


if __name__ == "__main__":
    supervise(*sys.argv[1:])
