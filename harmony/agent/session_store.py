"""Sessions: conversations in a file, with the tokens exactly as they were sampled.

A session is saved as its run goes on: the question when the run begins, then every turn of the model and
every answer of a tool. What a process that is killed had saved is whole, so that it loses at most the turn
in flight. The file is a SQLite database in WAL mode with `synchronous = NORMAL`: the last turns can be lost
when the machine itself loses power, and the rest stays whole.
"""

import sqlite3
import struct
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydantic import TypeAdapter

from harmony import Message, Segment, Transcript, load_encoding
from harmony.agent.calls import open_call
from harmony.agent.session import Decided, Session, is_question
from harmony.errors import SessionError

_VERSION: Final = 1
_CHECKPOINT_PAGES: Final = 8000
"""How long the write-ahead log grows, in pages of 4 KiB, before it is moved into the file: that alone waits
for the disk (20 to 110 ms were measured), so that it is to be rare."""
_TITLE: Final = 80
_TABLES: Final = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, parent TEXT, created REAL NOT NULL, updated REAL NOT NULL, title TEXT NOT NULL,
    pending TEXT, decision TEXT, version INTEGER NOT NULL,
    drop_rule TEXT NOT NULL, schema_profile TEXT NOT NULL
);
CREATE TABLE segments (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, position INTEGER NOT NULL,
    tokens BLOB NOT NULL, message TEXT, sampled_start INTEGER NOT NULL, sampled_stop INTEGER NOT NULL,
    PRIMARY KEY (session, position)
);
"""


@dataclass(frozen=True)
class SessionInfo:
    """What a list shows of a session; times are seconds since 1970, the title is its first question.

    `segments` is how many its transcript has, `parent` the session that it was branched from, `pending` the
    tool of the call at its end that waits for an answer.
    """

    id: str
    title: str
    created: float
    updated: float
    segments: int
    parent: str | None
    pending: str | None


_DECIDED: Final = TypeAdapter(Decided)


class SessionStore:
    """Sessions in one file, which any number of threads and processes may use; ":memory:" keeps none.

    What is in it was said in confidence: the file is made readable for its owner alone. Raises SessionError
    for a file that is no store, or of a later version.

    >>> store = SessionStore("sessions.db")
    >>> agent.run_sync("And in Rome?", session=store.session("weather")).text
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            if path != ":memory:":
                Path(path).touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise SessionError(f"{path} cannot be opened: {error}") from error
        self._closing = weakref.finalize(self, self._database.close)
        with self._errors():
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._database.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise SessionError(f"{path} is of a later version ({version}); update gpt-oss-harmony")
            if version == 0:
                for statement in _TABLES.split(";"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")

    def __contains__(self, session_id: object) -> bool:
        return bool(self._rows("SELECT 1 FROM sessions WHERE id = ?", session_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def session(self, session_id: str | None = None) -> Session:
        """The session of this id, begun if there is none; without an id, a new one."""
        if session_id is not None and session_id in self:
            return self.open(session_id)
        return self.create(session_id, Transcript(load_encoding()))

    def open(self, session_id: str) -> Session:
        """The session of this id, as it was saved. Raises SessionError when it is not there, or damaged."""
        with self._transaction():
            rules = self._rows(
                "SELECT version, decision, drop_rule, schema_profile FROM sessions WHERE id = ?", session_id
            )
            segments = self._rows(
                "SELECT tokens, message, sampled_start, sampled_stop FROM segments WHERE session = ? "
                "ORDER BY position",
                session_id,
            )
        if not rules:
            raise SessionError(f"there is no session {session_id!r} in {self._path}")
        ((version, decision, drop_rule, schema_profile),) = rules
        try:
            said = [_segment(*row) for row in segments]
            decided = None if decision is None else _DECIDED.validate_json(decision)
            transcript = Transcript(load_encoding(), said, drop_rule=drop_rule, schema_profile=schema_profile)
        except (ValueError, TypeError, struct.error) as error:
            raise SessionError(f"the session {session_id!r} in {self._path} is damaged") from error
        return Session(self, session_id, transcript, version, decided)

    def list(self) -> Sequence[SessionInfo]:
        """All sessions, the one used last first."""
        rows = self._rows(
            "SELECT id, title, created, updated, "
            "(SELECT count(*) FROM segments WHERE session = sessions.id), parent, pending "
            "FROM sessions ORDER BY updated DESC, id"
        )
        return [SessionInfo(*row) for row in rows]

    def delete(self, session_id: str) -> None:
        """Forget a session; its branches stay. Raises SessionError when it is not there."""
        with self._transaction():
            if not self._database.execute("DELETE FROM sessions WHERE id = ?", (session_id,)).rowcount:
                raise SessionError(f"there is no session {session_id!r} in {self._path}")

    def close(self) -> None:
        """Close the file; dropping the store does so too."""
        with self._lock:
            self._closing()

    def create(self, session_id: str | None, transcript: Transcript, *, parent: str | None = None) -> Session:
        """A new session of what a transcript holds. Raises SessionError when there is one of this id."""
        session_id = uuid.uuid4().hex if session_id is None else session_id
        now, said = time.time(), transcript.said
        row = (session_id, parent, now, now, _title(said), _pending(said))
        with self._transaction():
            if session_id in self:
                raise SessionError(f"there is a session {session_id!r} already; open it, or take another id")
            self._database.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, NULL, 0, ?, ?)",
                (*row, transcript.drop_rule, transcript.schema_profile),
            )
            self._insert(session_id, said, 0)
        return Session(self, session_id, transcript)

    def write(self, session_id: str, version: int, said: Sequence[Segment], kept: int) -> int:
        """Write what was said from segment `kept` on; the result is the version that it made."""
        with self._transaction():
            self._change(
                "updated = ?, title = ?, pending = ?, decision = NULL",
                (time.time(), _title(said), _pending(said), session_id, version),
            )
            self._database.execute(
                "DELETE FROM segments WHERE session = ? AND position >= ?", (session_id, kept)
            )
            self._insert(session_id, said, kept)
        return version + 1

    def decide(self, session_id: str, version: int, decision: Decided) -> int:
        """Write what was decided on the pending call; the result is the version that it made."""
        with self._transaction():
            self._change("decision = ?", (_DECIDED.dump_json(decision).decode(), session_id, version))
        return version + 1

    def _change(self, what: str, values: tuple[object, ...]) -> None:
        """Change a session if it is still of the version that is known; the id and it are the last values."""
        changed = self._database.execute(
            f"UPDATE sessions SET version = version + 1, {what} WHERE id = ? AND version = ?", values
        )
        if not changed.rowcount:
            raise SessionError(
                f"the session {values[-2]!r} was changed or deleted since it was opened; open it again"
            )

    def _insert(self, session_id: str, said: Sequence[Segment], first: int) -> None:
        rows = [(session_id, place, *_row(said[place])) for place in range(first, len(said))]
        self._database.executemany("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _rows(self, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
        with self._lock, self._errors(), closing(self._database.execute(query, values)) as found:
            return found.fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it is written, or nothing."""
        with self._lock, self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SessionError(f"{self._path}: {error}") from error


def _row(segment: Segment) -> tuple[object, ...]:
    message = None if segment.message is None else segment.message.model_dump_json()
    return struct.pack(f"<{len(segment.tokens)}I", *segment.tokens), message, *segment.sampled


def _segment(tokens: bytes, message: str | None, start: int, stop: int) -> Segment:
    said = None if message is None else Message.model_validate_json(message)
    return Segment(struct.unpack(f"<{len(tokens) // 4}I", tokens), said, (start, stop))


def _pending(said: Sequence[Segment]) -> str | None:
    call = open_call(said)
    return None if call is None else call.recipient


def _title(said: Sequence[Segment]) -> str:
    """The first question, in one line."""
    asked = (segment.message.text for segment in said if segment.message and is_question(segment))
    return " ".join(next(asked, "").split())[:_TITLE]
