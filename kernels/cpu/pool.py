"""Threads that compute the items of a kernel together."""

import os
from functools import cache
from threading import Lock, Semaphore, Thread

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from harmony.kernels.cpu.compiling import compiled
from harmony.kernels.cpu.llvm import atomic_add, atomic_load, atomic_swap, call

# The words that the threads share, each in a cache line of its own.
TURN, NEXT, FINISHED, KERNEL, ARGUMENTS, ITEMS, CHUNK, ASLEEP = range(0, 64, 8)
PATIENCE = 20_000  # looks at TURN before a thread goes to sleep: some tenths of a millisecond

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
sched_yield = types.ExternalFunction("sched_yield", types.int32())


class Pool:
    """A kernel's caller and `threads` - 1 threads beside it, which wait awake for a while, then asleep.

    The items are handed out in chunks as threads become free, so that a thread that is held up holds up
    no other. Calls from several threads take turns.
    """

    def __init__(self, threads: int) -> None:
        self._words = np.zeros(ASLEEP + 8 * threads, np.int64)
        self._turns = Lock()
        self._alarms = [Semaphore(0) for _ in range(threads - 1)]
        for number in range(threads - 1):
            Thread(target=self._serve, args=(number,), name=f"harmony-kernel-{number}", daemon=True).start()

    def run(self, kernel: int, items: int, *arguments: Tensor | int) -> None:
        """Compute all `items` of the kernel at this address."""
        given = _words(arguments)
        with self._turns:
            threads = len(self._alarms) + 1
            chunk = max(1, min(64, items // (4 * threads))) if threads > 1 else max(1, items)
            words = self._words.ctypes.data
            _post(words, kernel, given.ctypes.data, items, chunk)
            for number, alarm in enumerate(self._alarms):
                if _wake(words, number):
                    alarm.release()
            _take_part(words, threads - 1)

    def _serve(self, number: int) -> None:
        turn = 0
        while True:
            turn = _serve(self._words.ctypes.data, number, turn)
            self._alarms[number].acquire()


def compute(kernel: int, items: int, *arguments: Tensor | int) -> None:
    """Compute all `items` in this thread: for kernels that take less time than handing them out."""
    given = _words(arguments)
    _call(kernel, given.ctypes.data, items)


def _words(arguments: tuple[Tensor | int, ...]) -> IntArray:
    """What a kernel gets: sizes, and addresses of tensors."""
    assert all(isinstance(value, int) or value.is_contiguous() for value in arguments)
    words = [value if isinstance(value, int) else value.data_ptr() for value in arguments]
    return np.array(words, np.int64)


def pool() -> Pool:
    """The pool of as many threads as torch uses now."""
    return _pool(torch.get_num_threads(), os.getpid())


@cache
def _pool(threads: int, process: int) -> Pool:
    return Pool(threads)


@compiled("void(int64, int64, int64, int64, int64)")
def _post(words, kernel, arguments, items, chunk):
    atomic_swap(words + 8 * KERNEL, kernel)
    atomic_swap(words + 8 * ARGUMENTS, arguments)
    atomic_swap(words + 8 * ITEMS, items)
    atomic_swap(words + 8 * CHUNK, chunk)
    atomic_swap(words + 8 * FINISHED, 0)
    atomic_swap(words + 8 * NEXT, 0)
    atomic_add(words + 8 * TURN, 1)


@compiled("void(int64, int64, int64)")
def _call(kernel, arguments, items):
    call(kernel, arguments, 0, items)


@compiled("int64(int64, int64)")
def _wake(words, number):
    return atomic_swap(words + 8 * (ASLEEP + 8 * number), 0)


@njit(inline="always")
def _compute(words):
    items, chunk = atomic_load(words + 8 * ITEMS), atomic_load(words + 8 * CHUNK)
    function, arguments = atomic_load(words + 8 * KERNEL), atomic_load(words + 8 * ARGUMENTS)
    while True:
        first = atomic_add(words + 8 * NEXT, chunk)
        if first >= items:
            return
        call(function, arguments, first, min(first + chunk, items))


@compiled("void(int64, int64)")
def _take_part(words, others):
    _compute(words)
    looks = 0
    while atomic_load(words + 8 * FINISHED) < others:
        looks += 1
        if looks > PATIENCE:
            sched_yield()


@compiled("int64(int64, int64, int64)")
def _serve(words, number, turn):
    """Take part in every turn after `turn` until none comes for a while; gives the last one."""
    asleep = words + 8 * (ASLEEP + 8 * number)
    looks = 0
    while True:
        if atomic_load(words + 8 * TURN) != turn:
            turn += 1
            _compute(words)
            atomic_add(words + 8 * FINISHED, 1)
            looks = 0
        looks += 1
        if looks > PATIENCE:
            atomic_swap(asleep, 1)
            if atomic_load(words + 8 * TURN) == turn or atomic_swap(asleep, 0) == 0:
                return turn
            looks = 0
