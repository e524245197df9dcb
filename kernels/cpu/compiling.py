"""Kernels as C functions, compiled once for a machine and kept on disk."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types

from harmony.kernels.cpu import level

SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)


def kernel(function: Callable[..., None]) -> int:
    """Compile a function of (arguments, first, last) and give its address, for `Pool.run`.

    `arguments` points to int64 addresses and sizes; the function computes the items first <= i < last.
    """
    with _caching() as cached:
        compiled = numba.cfunc(SIGNATURE, cache=cached, error_model="numpy")(function)
    _KEPT.append(compiled)
    return int(compiled.address)


def compiled(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function that Python calls, and that lets other threads of Python run meanwhile."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        with _caching() as cached:
            made: Callable[..., Any] = numba.njit(signature, nogil=True, cache=cached, error_model="numpy")(
                function
            )
        return made

    return wrap


_KEPT: list[object] = []  # the owners of the compiled code


@contextmanager
def _caching() -> Iterator[bool]:
    """Point numba's cache at our folder; gives whether there is one."""
    folder = cache_folder()
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder or "")
    try:
        yield folder is not None
    finally:
        numba.config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Where compiled code is kept: gpt-oss-harmony/ in $XDG_CACHE_HOME or ~/.cache; None if not writable.

    The folder's name has a hash of the sources and the level, because numba looks for changes in the file
    of a function alone and not in what it calls; the CPU and numba's version numba checks itself.
    """
    digest = hashlib.sha256(level().encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folder = home / "gpt-oss-harmony" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
