"""The folder that a Python session works in: made for it, measured while it runs, removed with it.

Its host holds a lock on it, which the kernel lifts when that process ends, however it ends. Whoever makes
the next folder removes those that nobody holds.
"""

import fcntl
import os
import pwd
import secrets
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.errors import SandboxUnavailableError
from harmony.tools.python.transfer import put

_PREFIX = "harmony-python-"


@dataclass(frozen=True)
class Workspace:
    """A private folder, and the user that may enter it: a fresh one under root, the caller otherwise.

    `files` are copied into it, and again when it is cleared.
    """

    root: Path
    user: int | None
    files: tuple[Path, ...] = ()

    @classmethod
    def create(cls, files: Sequence[Path] = ()) -> "Workspace":
        """Make the folder; removed when the interpreter exits, or else when the next one starts."""
        _sweep()
        user = _fresh_user() if os.geteuid() == 0 else None
        # Locked before it has the name that a sweep looks for.
        unnamed = Path(tempfile.mkdtemp(prefix=".harmony-new-")).resolve()
        lock = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = unnamed.with_name(_PREFIX + unnamed.name.removeprefix(".harmony-new-"))
        unnamed.rename(root)
        workspace = cls(root, user, tuple(files))
        weakref.finalize(workspace, _give_up, root, lock)
        if user is not None:
            root.chmod(0o711)  # to pass through; its folders are the user's alone
        workspace._furnish()
        return workspace

    @property
    def data(self) -> Path:
        """Where cells run and keep their files."""
        return self.root / "data"

    @property
    def temporary(self) -> Path:
        """What the tempfile module uses."""
        return self.root / "tmp"

    def exceeds(self, size: int, entries: int) -> bool:
        """Whether the files take more than `size` bytes of disk or are more than `entries`."""
        folders = [os.fspath(self.root)]
        try:
            while folders:
                with os.scandir(folders.pop()) as listing:
                    for entry in listing:
                        entries -= 1
                        size -= entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        if size < 0 or entries < 0:
                            return True
        except FileNotFoundError:  # removed while this looked; the next look sees what is left
            return False
        except OSError:  # made unreadable, or nested too deep: where nobody can measure
            return True
        return False

    def clear(self) -> None:
        """Remove every file and leave the folder as it was made, with its files put in anew."""
        _remove(self.data)
        _remove(self.temporary)
        self._furnish()

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self.root)

    def _furnish(self) -> None:
        for folder in (self.data, self.temporary):
            folder.mkdir(mode=0o700)
        put(self.files, self.data, self.user)
        if self.user is not None:
            for folder in (self.data, self.temporary):
                os.chown(folder, self.user, self.user)


def _give_up(root: Path, lock: int) -> None:
    _remove(root)
    os.close(lock)


def _sweep() -> None:
    """Remove the folders that a killed host of the same user left behind."""
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # someone else's, or gone
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(root)
        except BlockingIOError:  # in use
            continue
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a tree of any depth that someone else filled; rm follows no links and needs no recursion."""
    if _run("rm", "-rf", "--", folder):
        _run("chmod", "-R", "u+rwx", "--", folder)
        _run("rm", "-rf", "--", folder)


def _run(*command: str | Path) -> int:
    """The exit status of a program of the system, which is found even where the PATH leads nowhere."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), os.defpath]))
    return subprocess.run(command, stderr=subprocess.DEVNULL, env={"PATH": path}).returncode


def _fresh_user() -> int:
    """An id that no account has, so that a session shares nothing with another or with the system.

    Drawn from above the ranges that distributions and containers use, or, in a user namespace
    that maps fewer ids, from the highest quarter of those.
    """
    first, _, count = (int(field) for field in Path("/proc/self/uid_map").read_text().split()[:3])
    low, high = (
        (1_900_000_000, 2_000_000_000) if count > 2_000_000_000 else (first + count * 3 // 4, first + count)
    )
    for _ in range(100):
        if not _is_account(user := low + secrets.randbelow(high - low)):
            return user
    raise SandboxUnavailableError("no user id is free in this container; run as an ordinary user")


def _is_account(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
