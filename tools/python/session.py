"""A worker process and the conversation with it, seen from the host.

The worker is not trusted. Its replies are four bytes, the number of the cell that is done; anything else
ends the session. What it prints is captured within bounds. Between cells it is stopped (SIGSTOP), so that no
thread it left behind computes, prints or writes while the model thinks. A cell over its time gets SIGINT,
which keeps the variables, then SIGKILL. The kernel kills the worker when the thread that started it ends,
so a killed host leaves nothing behind but the folder of its files.

The sockets are handed to whichever event loop runs a cell, so a session outlives `asyncio.run`.
"""

import asyncio
import signal
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

from harmony.tools.python.backends import Limits
from harmony.tools.python.output import Capture
from harmony.tools.python.process import Worker
from harmony.tools.python.workspace import Workspace

GRACE = 2.0
_LOOK_AT_DISK = 0.5
_REQUEST, _REPLY = struct.Struct("!II"), struct.Struct("!I")


class Session:
    """The cells of one worker, which is stopped whenever none runs."""

    def __init__(self, worker: Worker, workspace: Workspace, limits: Limits) -> None:
        self._worker = worker
        self._workspace = workspace
        self._limits = limits
        self._cell = 0
        self._unanswered = False
        self._lost = False
        worker.send(signal.SIGSTOP)

    @property
    def alive(self) -> bool:
        """Whether the next cell will find the variables of the last."""
        return self._worker.open

    def close(self) -> None:
        """Kill the worker."""
        self._worker.close()

    async def run(self, code: str, limit: float) -> str:
        """What a cell prints within `limit` seconds; unless it ended well, a last line in brackets tells."""
        captured = Capture()
        self._worker.send(signal.SIGCONT)
        try:
            note = await self._settle() or await self._perform(code, limit, captured)
        finally:
            if self._unanswered:  # this call was cancelled: the next one continues into the interrupt
                self._worker.send(signal.SIGINT)
            self._worker.send(signal.SIGSTOP)
        text = self._worker.drain(captured).text()
        if self._lost:
            self._worker.close()
        if not note:
            return text
        return f"{text}\n[{note}]" if text and not text.endswith("\n") else f"{text}[{note}]"

    async def _settle(self) -> str:
        """Let a cell whose call was cancelled end, and forget what it printed."""
        if not self._unanswered:
            return ""
        async with _task(self._answer()) as answer:
            if (note := await self._watch(answer, GRACE, Capture())) is None:
                return self._lose("The cell cancelled before ignored the interrupt, and this one was not run")
        self._worker.drain(Capture())
        return note

    async def _perform(self, code: str, limit: float, captured: Capture) -> str:
        async with _task(self._exchange(code)) as answer:
            if (note := await self._watch(answer, limit, captured)) is not None:
                return note
            self._worker.send(signal.SIGINT)
            if (note := await self._watch(answer, GRACE, captured)) is None:
                return self._lose(f"Killed after {limit:g} s, since it ignored the interrupt")
            return note or f"Interrupted after {limit:g} s; variables are kept"

    async def _watch(self, answer: "asyncio.Task[str]", limit: float, captured: Capture) -> str | None:
        """Take in what the worker prints until it answers; None when the limit comes first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        loop.add_reader(self._worker.output, self._take, captured)
        try:
            while not answer.done():
                if self._workspace.exceeds(self._limits.disk, self._limits.files):
                    return self._evict()
                if (left := deadline - loop.time()) <= 0:
                    return None
                await asyncio.wait({answer}, timeout=min(left, _LOOK_AT_DISK))
            return answer.result()
        finally:
            loop.remove_reader(self._worker.output)

    def _take(self, captured: Capture) -> None:
        with suppress(BlockingIOError):
            if not self._worker.take_output(captured):  # the worker closed its output; it may still answer
                asyncio.get_running_loop().remove_reader(self._worker.output)

    async def _exchange(self, code: str) -> str:
        """Send a cell and wait for its answer."""
        self._cell += 1
        self._unanswered = True
        text = code.encode("utf-8", "replace")
        try:
            request = _REQUEST.pack(self._cell, len(text)) + text
            await asyncio.get_running_loop().sock_sendall(self._worker.channel, request)
        except ConnectionError:
            return await self._obituary()
        return await self._answer()

    async def _answer(self) -> str:
        """Wait for the number of the cell; empty, or how the session ended instead."""
        expected, received = _REPLY.pack(self._cell), b""
        while len(received) < len(expected):
            try:
                part = await asyncio.get_running_loop().sock_recv(
                    self._worker.channel, len(expected) - len(received)
                )
            except ConnectionError:
                part = b""
            if not part:
                return await self._obituary()
            received += part
        if received != expected:
            return self._lose("Killed, since it wrote to the session's own channel")
        self._unanswered = False
        return ""

    async def _obituary(self) -> str:
        """How a worker ended that no longer answers; one that only closed its channel is killed."""
        for _ in range(50):
            if (how := self._worker.ended) is not None:
                return self._lose(f"The Python session ended ({how})")
            await asyncio.sleep(0.01)
        return self._lose("Killed, since it closed the session's own channel")

    def _evict(self) -> str:
        note = self._lose(
            f"Killed, since its files took more than {self._limits.disk >> 20} MiB or were more than "
            f"{self._limits.files}; all files are removed"
        )
        self._workspace.clear()
        return note

    def _lose(self, what: str) -> str:
        """Kill the worker and say so; its last output can still be read."""
        self._worker.kill()
        self._lost = True
        self._unanswered = False
        return f"{what}; variables are lost, the next call starts a new session"


@asynccontextmanager
async def _task(work: Coroutine[None, None, str]) -> AsyncIterator["asyncio.Task[str]"]:
    """Work that has let go of the sockets when the block is left.

    An event loop knows a socket by its number; one closed too early would be unregistered under a
    number that the next worker's socket already has.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
