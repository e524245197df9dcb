"""What the chats of a user leave for later ones: the lines that were typed, and saved sessions."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from harmony.agent.session import Session
from harmony.agent.session_store import SessionStore
from harmony.errors import SessionError

UNSAVED: Final = "unsaved"
_KEPT_LINES: Final = 1000


class Sessions:
    """The sessions of a user, in a file that is opened when it is first asked for."""

    def __init__(self) -> None:
        self._open = ExitStack()

    @cached_property
    def store(self) -> SessionStore:
        """The saved ones. Raises SessionError where there is no place for them."""
        try:
            path = folder() / "sessions.db"
        except OSError as error:
            raise SessionError(f"no place for sessions: {error}; name another in XDG_STATE_HOME") from None
        return self._open.enter_context(SessionStore(path))

    def unsaved(self) -> Session:
        """A new one that is not kept."""
        return self._open.enter_context(SessionStore(":memory:")).session(UNSAVED)

    def close(self) -> None:
        """Close the file, and forget what is not kept."""
        self._open.close()


def folder() -> Path:
    """Where all of it lies: `~/.local/state/harmony`, or `harmony` in XDG_STATE_HOME; made if need be."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "harmony"
    path.mkdir(parents=True, exist_ok=True)
    return path


def read_history(completions: Callable[[str], Sequence[str]]) -> Callable[[str], None]:
    """Edit lines with what was typed in chats before, and complete them; only on a terminal.

    The result keeps a line that was typed, at once, as other chats may go on and this one may be killed.
    Raises OSError where there is no place for the history; lines are edited and completed all the same.
    """
    if not sys.stdin.isatty() or sys.stdin is not sys.__stdin__:
        return lambda _: None
    import readline

    readline.set_completer_delims("")
    readline.set_completer(lambda typed, number: [*completions(typed), None][number])
    readline.parse_and_bind("tab: complete")
    file = folder() / "history"
    file.touch(mode=0o600)
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    for line in lines[-_KEPT_LINES:]:
        readline.add_history(line)
    if len(lines) > 2 * _KEPT_LINES:
        file.write_text("".join(f"{line}\n" for line in lines[-_KEPT_LINES:]), encoding="utf-8")

    def keep(line: str) -> None:
        with suppress(OSError), file.open("a", encoding="utf-8", errors="replace") as kept:
            kept.write(f"{line}\n")  # or is forgotten: a chat does not end at it

    return keep
