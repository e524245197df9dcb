"""A worker in a container, as its host holds it: two sockets, as of a worker that is a child, and signals.

A container shares no descriptor and no pid with its host, only its standard streams. The supervisor in it
(see `supervisor`) puts everything into frames; two threads here take them apart and together again. What
comes out of the container is not trusted: it is bytes for the channel or for the output, and nothing else.
"""

import signal
import socket
import subprocess
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from harmony.tools.python.supervisor import CHANNEL, FRAME, OUTPUT, SIGNAL

_CHUNK = 1 << 16


@cache
def program() -> str:
    """What the first process of the container executes."""
    return Path(__file__).with_name("supervisor.py").read_text("utf-8")


class Streams:
    """The far ends of a worker's channel and output, at the standard streams of its container."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", channel: socket.socket, output: socket.socket
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._turn = threading.Lock()
        down = (process.stdout, channel, output)
        up = threading.Thread(target=self._pass_up, args=(channel,), daemon=True)
        up.start()
        threading.Thread(target=_pass_down, args=(*down, up), daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Have the supervisor signal the worker."""
        with suppress(OSError, ValueError):  # the container ended, its stream is closed
            self._write(FRAME.pack(SIGNAL, number))

    def _write(self, frame: bytes) -> None:
        with self._turn:
            self._stdin.write(frame)
            self._stdin.flush()

    def _pass_up(self, channel: socket.socket) -> None:
        """What the host sends, until it closes its end; that closes the container's stream, and ends it."""
        with suppress(OSError):
            while data := channel.recv(_CHUNK):
                self._write(FRAME.pack(CHANNEL, len(data)) + data)
        with suppress(OSError):
            self._stdin.close()


def _pass_down(
    stream: IO[bytes], channel: socket.socket, output: socket.socket, up: threading.Thread
) -> None:
    """What the container sends, until it ends or sends what is no frame."""
    ends = {CHANNEL: channel, OUTPUT: output}
    with stream, channel, output:
        with suppress(OSError):
            while len(header := stream.read(FRAME.size)) == FRAME.size:
                kind, size = FRAME.unpack(header)
                if kind not in ends or size > _CHUNK:
                    break
                if size:
                    ends[kind].sendall(stream.read(size))
                else:
                    ends[kind].shutdown(socket.SHUT_WR)
        with suppress(OSError):
            channel.shutdown(socket.SHUT_RDWR)
        up.join()
