"""The local back end: a folder of documents, searched without a network."""

import asyncio
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from harmony.errors import ToolError
from harmony.tools.browser.backend import Result
from harmony.tools.browser.document import Document
from harmony.tools.browser.folder import Folder
from harmony.tools.browser.index import MEMORY, Index, Progress, Update


class Local:
    """Pages of a folder: html, md, txt, rst and pdf, at `local:///path`.

    The index is brought up to date when it is first needed, and kept in `index`, a file, or else in the
    user's cache folder; ":memory:" keeps none. A page that is opened is read from the folder. Raises
    ToolError when there is no such folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        index: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder = Folder(folder)
        self.index_file = Path(index) if index is not None else _cache_file(self.folder.path)
        self._progress = progress
        self._index: Index | None = None
        self._turn = threading.Lock()

    async def search(self, query: str, n: int) -> list[Result]:
        """The best `n` pages."""
        return await asyncio.to_thread(self._search, query, n)

    async def fetch(self, url: str) -> Document:
        """The file at `local:///path`; the path alone will do."""
        return await asyncio.to_thread(self.folder.read, url)

    async def aclose(self) -> None:
        """Close the index."""
        await asyncio.to_thread(self._close)

    def update(self) -> Update:
        """Bring the index up to date; says what was done. Raises ToolError."""
        with self._turn, self._explained():
            return self._opened().update(self.folder, self._progress)

    def _search(self, query: str, n: int) -> list[Result]:
        with self._turn, self._explained():
            if self._index is None:
                self._opened().update(self.folder, self._progress)
            return self._opened().search(query, n)

    def _close(self) -> None:
        with self._turn:
            if self._index is not None:
                self._index.close()
            self._index = None

    def _opened(self) -> Index:
        if self._index is None:
            self._index = Index(self.index_file)
        return self._index

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ToolError(
                f"the index {self.index_file} does not work: {error}; name another file for it, or another "
                "cache folder in XDG_CACHE_HOME"
            ) from error


def bundled_docs() -> Local:
    """The documentation of this package, indexed in memory."""
    (folder,) = import_module("harmony.docs").__path__
    return Local(folder, index=MEMORY)


def _cache_file(folder: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return cache / "gpt-oss-harmony" / "browser" / f"{folder.name or 'root'}-{digest}.sqlite3"
