"""Where installed packages lie: the folders they are imported from, and what links in those lead to.

uv can install by links into its store, Debian and Nix link too, and so does who shares an environment.
"""

import os
import sys
from collections.abc import Iterator


def installed() -> tuple[str, ...]:
    """The folders from which this interpreter imports installed packages."""
    return tuple(
        os.path.realpath(path) for path in sys.path if path.endswith(("/site-packages", "/dist-packages"))
    )


def linked(folder: str) -> Iterator[str]:
    """What the links in a folder of packages lead to: files, and the folders of whole packages.

    A package whose files are links one by one lies where the first of them leads. A target is named as its
    link names it, so that the next link of a chain is found there.
    """
    for entry in _entries(folder):
        if entry.is_symlink():
            yield _target(entry.path)
        elif entry.is_dir():
            yield from _homes(entry.path)


def _homes(package: str) -> Iterator[str]:
    entries = _entries(package)
    links = [_target(entry.path) for entry in entries if entry.is_symlink()]
    home = os.path.dirname(links[0]) if links else ""
    if os.path.basename(home) == os.path.basename(package):
        yield home
        return
    yield from links
    if all(entry.is_dir() for entry in entries):  # a namespace, which has packages in it
        for entry in entries:
            if not entry.is_symlink():
                yield from _homes(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing of one that may not be read, from which nothing can be imported."""
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []


def _target(link: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
