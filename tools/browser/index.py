"""A full-text index of a folder: SQLite FTS5, ranked by bm25 with the title weighted.

A file is read again when its time or size has changed, and indexed again when its content has. What cannot
be read is skipped, with a note.
"""

import hashlib
import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harmony.errors import ToolError
from harmony.tools.browser.backend import Result
from harmony.tools.browser.document import read
from harmony.tools.browser.folder import File, Folder
from harmony.tools.browser.text import without_links

Progress = Callable[[int, int], None]
"""Told how many files are done, of how many."""

MEMORY = ":memory:"

_APPLICATION = 0x48524D4E
_VERSION = 1
_TERMS = 32
_MATCH = "\x02"
_LEFT_OUT = " … "
_PATIENCE = 600  # seconds, while another process indexes
_SCHEMA = (
    "DROP TABLE IF EXISTS pages",
    "DROP TABLE IF EXISTS files",
    "CREATE TABLE files "
    "(id INTEGER PRIMARY KEY, url TEXT UNIQUE, mtime INTEGER, size INTEGER, hash BLOB, note TEXT)",
    "CREATE VIRTUAL TABLE pages USING fts5(title, text, tokenize = 'porter unicode61 remove_diacritics 2')",
    "INSERT INTO pages (pages, rank) VALUES ('rank', 'bm25(5.0, 1.0)')",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
_SEARCH = """
    SELECT files.url, pages.title, pages.text, snippet(pages, 1, char(2), '', ' … ', 40)
    FROM pages JOIN files ON files.id = pages.rowid WHERE pages MATCH ? ORDER BY pages.rank LIMIT ?
"""


@dataclass(frozen=True)
class Update:
    """What bringing an index up to date has done; `skipped` has each file left out, and why."""

    added: int
    changed: int
    removed: int
    unchanged: int
    skipped: tuple[tuple[str, str], ...]

    @property
    def pages(self) -> int:
        """Pages that can now be found."""
        return self.added + self.changed + self.unchanged


@dataclass(frozen=True)
class _Known:
    """What the index holds of a file; `note` says why it is not a page."""

    id: int
    mtime: int
    size: int
    hash: bytes | None
    note: str | None


class Index:
    """The index in a file, or in memory; for one thread at a time. Raises OSError and sqlite3.Error.

    Its connection is closed with it at the latest.
    """

    def __init__(self, file: str | Path) -> None:
        if str(file) != MEMORY:
            Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        self._closing = weakref.finalize(self, self._db.close)
        self._prepare()

    def close(self) -> None:
        """Close the file."""
        self._closing()

    def search(self, query: str, n: int) -> list[Result]:
        """Pages with the query as a phrase, then with all of its words, then with some of them."""
        terms = re.findall(r"\w+", query)[:_TERMS]
        words = [f'"{term}"' for term in terms]
        found: dict[str, Result] = {}
        for match in (f'"{" ".join(terms)}"', " ".join(words), " OR ".join(words)) if terms else ():
            for url, title, text, snippet in self._db.execute(_SEARCH, (match, n)):
                found.setdefault(url, _result(url, title, text, snippet))
            if len(found) >= n or len(terms) == 1:
                break
        return list(found.values())[:n]

    def update(self, folder: Folder, progress: Progress | None = None) -> Update:
        """Make the index agree with the folder."""
        done: Counter[str] = Counter()
        skipped = []
        files = list(folder.files())
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            rows = self._db.execute("SELECT url, id, mtime, size, hash, note FROM files")
            known = {url: _Known(*columns) for url, *columns in rows}
            for number, file in enumerate(files, start=1):
                what, note = self._take(folder, file, known.pop(file.url, None))
                done[what] += 1
                if note is not None:
                    skipped.append((file.url, note))
                if progress is not None:
                    progress(number, len(files))
            for gone in known.values():
                self._forget(gone)
        return Update(done["added"], done["changed"], len(known), done["unchanged"], tuple(skipped))

    def _prepare(self) -> None:
        """Create the tables, anew if another version of this program made them."""
        if self._made_by() == (_APPLICATION, _VERSION):
            return
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            application, version = self._made_by()
            if (application, version) == (_APPLICATION, _VERSION):  # another process was faster
                return
            if application != _APPLICATION and self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise sqlite3.DatabaseError("it is a database of another program")
            for statement in _SCHEMA:
                self._db.execute(statement)

    def _made_by(self) -> tuple[int, int]:
        """The program and its version that made the file; zeros for an empty one."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return application, version

    def _take(self, folder: Folder, file: File, known: _Known | None) -> tuple[str, str | None]:
        """Bring one file up to date; what was done, and the note if it is no page."""
        if known is not None and (known.mtime, known.size) == (file.mtime, file.size):
            return "skipped" if known.note else "unchanged", known.note
        digest = page = note = None
        try:
            document = folder.read(file.url)
            digest = hashlib.blake2b(document.body, digest_size=16).digest()
            if known is not None and known.hash == digest:
                times = (file.mtime, file.size, known.id)
                self._db.execute("UPDATE files SET mtime = ?, size = ? WHERE id = ?", times)
                return "skipped" if known.note else "unchanged", known.note
            page = read(document)
        except ToolError as error:
            note = str(error)
        if known is not None:
            self._forget(known)
        row = (file.url, file.mtime, file.size, digest, note)
        added = self._db.execute(
            "INSERT INTO files (url, mtime, size, hash, note) VALUES (?, ?, ?, ?, ?)", row
        )
        if page is None:
            return "skipped", note
        text = "\n".join(without_links(page.lines))
        self._db.execute(
            "INSERT INTO pages (rowid, title, text) VALUES (?, ?, ?)", (added.lastrowid, page.title, text)
        )
        return "added" if known is None or known.note else "changed", None

    def _forget(self, known: _Known) -> None:
        self._db.execute("DELETE FROM pages WHERE rowid = ?", (known.id,))
        self._db.execute("DELETE FROM files WHERE id = ?", (known.id,))


def _result(url: str, title: str, text: str, marked: str) -> Result:
    """A result from a snippet in which a character marks each match; it opens at the line of the first."""
    snippet = marked.replace(_MATCH, "")
    within = snippet.removeprefix(_LEFT_OUT).removesuffix(_LEFT_OUT)
    before = marked.partition(_MATCH)[0].removeprefix(_LEFT_OUT) if _MATCH in marked else ""
    start = text.find(within)
    return Result(url, title, snippet, text.count("\n", 0, max(start, 0) + len(before)))
