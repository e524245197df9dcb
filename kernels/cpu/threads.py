"""How many threads compute: those of our pool, and those that torch takes for its own operations."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import local

import torch


class _Pool(local):
    threads: int | None = None  # of the pool, in a thread that keeps torch to itself


_POOL = _Pool()


def threads() -> int:
    """As many as torch uses, or would use outside `torch_alone`."""
    return _POOL.threads or torch.get_num_threads()


@contextmanager
def torch_alone(needed: bool = True) -> Iterator[None]:
    """Let torch compute in the calling thread by itself, if needed, while our pool keeps its threads.

    Threads of OpenMP wait awake for milliseconds after an operation that they shared, on the cores that the
    pool's need. This changes nothing for other threads, as `torch.set_num_threads` would.
    """
    if not needed or _POOL.threads is not None:
        yield
        return
    before = _POOL.threads = torch.get_num_threads()
    _set_openmp_threads()(1)
    try:
        yield
    finally:
        _set_openmp_threads()(before)
        _POOL.threads = None


@cache
def _set_openmp_threads() -> Callable[[int], object]:
    """OpenMP's own function, which holds for the calling thread; nothing where torch is built without it."""
    found: Callable[[int], object] | None = getattr(
        ctypes.CDLL(torch._C.__file__), "omp_set_num_threads", None
    )
    return found or (lambda count: None)
