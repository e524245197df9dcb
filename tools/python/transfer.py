"""Files into a session's folder and out of it, where whatever is found was made by code of a model.

A name is walked one component at a time from the folder's own descriptor, and no link is followed, so that
none leads out, not even one that is exchanged meanwhile. Only regular files are read, and only so much.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from harmony.errors import ToolError

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def checked(files: Sequence[str | os.PathLike[str]], most: int) -> tuple[Path, ...]:
    """The files to put in, by absolute path; ToolError unless they are files with names of their own."""
    paths = tuple(Path(file).resolve() for file in files)
    for path in paths:
        if not path.is_file():
            raise ToolError(f"{path} is not a file; give Python(files=...) paths of files")
    if len({path.name for path in paths}) < len(paths):
        raise ToolError("two files for python have one name; rename one of them")
    if (size := sum(path.stat().st_size for path in paths)) > most:
        raise ToolError(f"the files for python take {size} bytes, more than the {most} of Limits(disk=...)")
    return paths


def put(files: Sequence[Path], folder: Path, user: int | None) -> None:
    """Copy `files` into a folder that no worker has entered yet, and give them to `user`."""
    for file in files:
        copy = folder / file.name
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
        if user is not None:
            os.chown(copy, user, user)


def names(folder: Path, most: int) -> list[str]:
    """The regular files beneath `folder`, by their path from there, sorted; `most` of them at most."""
    found: list[str] = []
    for name in _walk(folder):
        if len(found) == most:
            break
        found.append(name)
    return sorted(found)


def read(folder: Path, name: str, most: int) -> bytes:
    """What is in a file beneath `folder`; ToolError unless it is a regular file of `most` bytes at most."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise ToolError(f"{name!r} is no file of the session; list_files() has their names")
    try:
        descriptor = _open(folder, parts)
    except (OSError, ValueError) as error:  # ValueError for what no file can be called
        raise ToolError(f"{name!r} cannot be read from the session ({error})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ToolError(f"{name!r} is not a regular file")
    with open(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ToolError(f"{name!r} is larger than {most} bytes")
    return content


def save(folder: Path, target: Path, most: int, count: int) -> None:
    """Copy the regular files beneath `folder` into `target`, which is made; those too large are left."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names(folder, count):
        try:
            content = read(folder, name, most)
        except ToolError:
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)


def _walk(folder: Path) -> Iterator[str]:
    pending = [""]
    while pending:
        above = pending.pop()
        try:
            descriptor = _open(folder, PurePosixPath(above).parts)
        except OSError:  # shut, or removed meanwhile
            continue
        try:
            with os.scandir(descriptor) as listing:
                for entry in listing:
                    name = f"{above}/{entry.name}" if above else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        yield name
        finally:
            os.close(descriptor)


def _open(folder: Path, parts: Sequence[str]) -> int:
    """A descriptor of `folder/parts...`, reached without following a link."""
    at = os.open(folder, _LOOK | os.O_DIRECTORY)
    for index, part in enumerate(parts):
        directory = os.O_DIRECTORY if index < len(parts) - 1 else 0
        try:
            inner = os.open(part, _LOOK | directory, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at
