"""A command as a process: its standard streams, and the exit status of every way to end."""

from __future__ import annotations

import os
import signal
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Final

from harmony.errors import HarmonyError, UsageError
from harmony.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TextIO

    from _typeshed import ReadableBuffer

FAILED: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT
UNREAD: Final = 128 + signal.SIGPIPE
"""The reader of what it writes has gone; 141, as of a command that the signal ends."""


def exit_status(command: Callable[[], int]) -> int:
    """Run a command until all of its output is written; an error is told in one line on standard error."""
    try:
        try:
            try:
                return command()
            finally:
                sys.stdout.flush()
        except HarmonyError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return INTERRUPTED
    except _UnreadError:
        return UNREAD


def as_process(main: Callable[[], int]) -> int:
    """Run the `main` of a command whose process this is, with standard streams that can be relied on.

    What standard output refuses is a UsageError, also where it is closed. A closed standard input is empty.
    """
    _open_what_is_closed()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout = _guarded(sys.stdout, _Output)
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr = _guarded(sys.stderr, _Stream)
    try:
        return main()
    finally:
        for number, stream in enumerate((sys.stdout, sys.stderr), 1):
            try:
                stream.flush()
            except (OSError, UsageError, _UnreadError):  # was told; Python would try again at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


class _UnreadError(Exception):
    """The reader of standard output or standard error has gone; no OSError, which rich would act on."""


class _Stream(FileIO):
    """A standard stream, whose reader may go."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise _UnreadError from None


class _Output(_Stream):
    """Standard output, whose failures are told from those of other files."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            problem = f"standard output cannot be written ({error.strerror}); send it elsewhere"
            raise UsageError(problem) from None


def _open_what_is_closed() -> None:
    """Put something in the place of closed streams, which the next opened files would take otherwise."""
    if sys.stdin is None:
        sys.stdin = _nothing(0, os.O_RDONLY, "r")
    if sys.stdout is None:
        sys.stdout = _nothing(1, os.O_RDONLY, "w")  # cannot be written, as if it was still closed
    if sys.stderr is None:
        sys.stderr = _nothing(2, os.O_WRONLY, "w")


def _nothing(descriptor: int, flags: int, mode: Literal["r", "w"]) -> TextIO:
    os.dup2(os.open(os.devnull, flags), descriptor)
    return os.fdopen(descriptor, mode, errors="backslashreplace", closefd=False)


def _guarded(out: TextIOWrapper, kind: type[_Stream]) -> TextIOWrapper:
    raw = kind(out.fileno(), "w", closefd=False)
    return TextIOWrapper(
        raw if out.write_through else BufferedWriter(raw),
        encoding=out.encoding,
        errors=out.errors,
        line_buffering=out.line_buffering,
        write_through=out.write_through,
    )
