"""Run cells in one lasting namespace, as a notebook does: echo, tracebacks, output in order.

The source of this file is sent to the worker process and executed there after it has confined itself, so it
imports only the standard library. All text goes to descriptors 1 and 2, which are one stream; the channel
carries a cell (`!II`: its number and its size, then UTF-8) in, and its number back when it is done.
As in a notebook, `await` works at the top level, in one event loop that lasts. Not covered: IPython's
`%magic` and `!shell`.
"""

import ast
import functools
import importlib.machinery
import io
import linecache
import os
import signal
import struct
import sys
import traceback
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each of these takes longer to load than this file
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine

_REQUEST, _REPLY = struct.Struct("!II"), struct.Struct("!I")
_SOURCES = 1_000  # of the last cells, for tracebacks
_AWAIT, _CO_COROUTINE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, 0x80


class _Figures(importlib.machinery.SourceFileLoader):
    """Finds and loads one module, matplotlib's backend, whose source came with this one."""

    def __init__(self, code: types.CodeType) -> None:
        super().__init__("harmony_figures", code.co_filename)
        self._code = code

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self.name else None

    def get_code(self, fullname: str) -> types.CodeType:
        return self._code


def serve(channel: int, figures: types.CodeType) -> None:
    """Say that this process is ready (0), then run cells until the host closes the channel."""
    sys.meta_path.append(_Figures(figures))
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv[:] = [""]
    sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _open_streams()
    os.write(channel, _REPLY.pack(0))
    while header := _read(channel, _REQUEST.size):
        number, size = _REQUEST.unpack(header)
        linecache.cache.pop(f"<cell {number - _SOURCES}>", None)
        _perform(_read(channel, size).decode(), f"<cell {number}>", module.__dict__)
        os.write(channel, _REPLY.pack(number))


def _read(channel: int, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = os.read(channel, size - len(received))
        if not part:
            raise SystemExit
        received += part
    return received


def _perform(code: str, name: str, namespace: dict[str, object]) -> None:
    """Run a cell to its end, whatever it raises; the host sends at most one SIGINT a cell."""
    try:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if getattr(sys.stdout, "closed", True) or getattr(sys.stderr, "closed", True):
                _open_streams()
            _run(code, name, namespace)
        except BaseException as error:
            _report(error)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _open_streams() -> None:
    """Two text streams over one buffer, so that what is written to both arrives in order."""
    shared = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    for stream in ("stdout", "stderr"):
        text = io.TextIOWrapper(
            shared, encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
        )
        setattr(sys, stream, text)


def _run(code: str, name: str, namespace: dict[str, object]) -> None:
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    statements = ast.parse(code, name)
    shown: list[ast.stmt] = []
    if statements.body and isinstance(statements.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
        shown = [statements.body.pop()]
    parts = (statements, "exec"), (ast.Interactive(shown), "single")
    codes = [compile(part, name, mode, _AWAIT, dont_inherit=True) for part, mode in parts]
    if any(code.co_flags & _CO_COROUTINE for code in codes):
        _wait(_awaiting(codes, namespace))
    else:
        for code in codes:
            exec(code, namespace)


async def _awaiting(codes: list[types.CodeType], namespace: dict[str, object]) -> None:
    for code in codes:
        result = eval(code, namespace)
        if code.co_flags & _CO_COROUTINE:
            await result


def _wait(work: "Coroutine[None, None, None]") -> None:
    """Run the event loop until `work` is done; an interrupt ends it there and keeps the loop."""
    task = _loop().create_task(work)
    try:
        _loop().run_until_complete(task)
    finally:
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # seen: raised here already


@functools.cache
def _loop() -> "AbstractEventLoop":
    import asyncio

    return asyncio.new_event_loop()


def _report(error: BaseException) -> None:
    """Print the traceback as the user's code sees it: from the cell on."""
    _flush()
    frames = error.__traceback__
    while frames and not frames.tb_frame.f_code.co_filename.startswith("<cell "):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # an exception may break its own display, or leave no memory for it
        text = f"{type(error).__name__} (its traceback cannot be shown)\n"
    os.write(2, text.encode("utf-8", "backslashreplace"))


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # the cell closed or replaced its streams
        pass
