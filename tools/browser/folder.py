"""A folder of documents: which files are pages, and reading one without leaving the folder."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from harmony.errors import ToolError
from harmony.tools.browser.addresses import split
from harmony.tools.browser.document import HTML, MARKDOWN, PDF, PLAIN, RST, Document
from harmony.tools.browser.page import shown_url

LARGEST = 16 * 2**20

_INDEX = "index.html"
_KINDS = {
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": PLAIN,
    ".rst": RST,
    ".pdf": PDF,
}


@dataclass(frozen=True)
class File:
    """A file that is a page: its address, its time in nanoseconds and its size in bytes."""

    url: str
    mtime: int
    size: int


class Folder:
    """The pages below a folder. Files and folders whose name starts with a dot are none.

    Raises ToolError when there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_dir():
            raise ToolError(
                f"there is no folder {os.fspath(path)!r}; name one that holds html, md, txt, rst or pdf files"
            )

    def files(self) -> Iterator[File]:
        """The files that are pages, in order; symbolic links are not followed."""
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(filter(_kind, names)):
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):  # it went while we looked
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        yield File(_url(os.path.relpath(path, self.path)), status.st_mtime_ns, status.st_size)

    def read(self, url: str) -> Document:
        """The document at `local:///path`; the path alone will do, and a folder is its index.html.

        Raises ToolError for what is not there.
        """
        parts = split(url)
        if parts.scheme not in ("", "local") or parts.netloc:
            raise ToolError(
                f"This browser only reads the pages of a folder, and {shown_url(url)} is not one of them. "
                "Open a link that a search has found, or an address that starts with local:///."
            )
        try:
            path = (self.path / os.fsdecode(unquote_to_bytes(parts.path.lstrip("/")))).resolve(strict=True)
            if path.is_dir():
                path = (path / _INDEX).resolve(strict=True)
            inside = path.relative_to(self.path)
            kind = _kind(path.name)
            if kind is None or any(part.startswith(".") for part in inside.parts):
                raise FileNotFoundError(path)
            body = _content(path)
        except (OSError, ValueError) as error:
            raise ToolError(
                f"There is no page {shown_url(url)} here. Use browser.search to see what there is."
            ) from error
        if len(body) > LARGEST:
            raise ToolError(f"The file is larger than {LARGEST >> 20} MiB.")
        return Document(_url(inside), body, kind)


def _url(path: str | os.PathLike[str]) -> str:
    return "local:///" + quote(os.fsencode(path))


def _kind(name: str) -> str | None:
    return None if name.startswith(".") else _KINDS.get(os.path.splitext(name)[1].lower())


def _content(path: Path) -> bytes:
    """The bytes of a regular file, up to one more than is read; a pipe or device is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(path)
        return file.read(LARGEST + 1)
