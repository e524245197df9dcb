"""Threads that compute the items of a kernel together."""

import os
from array import array
from functools import cache
from threading import Lock, Thread

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from harmony.kernels.cpu.compiling import compiled
from harmony.kernels.cpu.llvm import atomic_add, atomic_load, atomic_swap, call, load_i64
from harmony.kernels.cpu.tape import HEAD, Program, Step, tape
from harmony.kernels.cpu.threads import threads

# The words that the threads share, each in a cache line of its own. NEXT and COUNT hold the number of the
# turn in their upper half, and below it the chunk that is handed out next and how many there are. So a
# thread that comes late cannot mistake a chunk of one turn for one of another, and nobody waits for it; and
# a chunk that is handed out keeps its turn, and all that these words say of it, from ending.
NEXT, COUNT, DONE, KERNEL, ARGUMENTS, ITEMS, CHUNK, SLEEPING, SEMAPHORE = range(0, 72, 8)
LOW = 0xFFFFFFFF
ALONE = 2  # rows that take less time than it takes to hand them out
PATIENCE = 2000  # looks for a turn before a thread goes to sleep: about a millisecond of an idle core

sched_yield = types.ExternalFunction("sched_yield", types.int32())
sem_init = types.ExternalFunction("sem_init", types.int32(types.int64, types.int32, types.int32))
sem_post = types.ExternalFunction("sem_post", types.int32(types.int64))
sem_wait = types.ExternalFunction("sem_wait", types.int32(types.int64))


class Pool:
    """A kernel's caller and `threads` - 1 threads beside it, which wait awake for a while, then asleep.

    The items are handed out in chunks as threads become free, so that a thread that is held up holds up
    no more than its chunk; one that is waited for leaves its core to others. None of them needs Python's
    lock, neither to wake up nor to compute. Calls from several threads take turns.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._memory = array("q", bytes(8 * SEMAPHORE + 64))
        self._words = _address(self._memory)
        self._turns = Lock()
        _prepare(self._words)
        for number in range(threads - 1):
            Thread(target=self._serve, name=f"harmony-kernel-{number}", daemon=True).start()

    def run(self, kernel: int, items: Tensor | int, *arguments: Tensor | int) -> None:
        """Compute all `items` of the kernel at this address."""
        if (recorded := tape()) is not None:
            recorded.add(Step(kernel, items, arguments, shared=True))
            return
        given = _words(arguments)
        with self._turns:
            _run(self._words, kernel, _address(given), int(items), self._threads)

    def play(self, program: Program) -> None:
        """Compute what was recorded."""
        with self._turns:
            _play(self._words, program.address, len(program.kernels), self._threads)

    def _serve(self) -> None:
        while True:
            _serve(self._words)


def compute(kernel: int, items: int, *arguments: Tensor | int) -> None:
    """Compute all `items` in this thread: for kernels that take less time than handing them out."""
    if (recorded := tape()) is not None:
        recorded.add(Step(kernel, items, arguments, shared=False))
        return
    given = _words(arguments)
    _call(kernel, _address(given), items)


def compute_rows(kernel: int, rows: int, *arguments: Tensor | int) -> None:
    """Compute all rows, one or two in this thread."""
    (compute if rows <= ALONE else pool().run)(kernel, rows, *arguments)


@cache
def numbers(*values: float) -> Tensor:
    """The same float32 numbers for many calls of a kernel."""
    return torch.tensor(values)


def _words(arguments: tuple[Tensor | int, ...]) -> "array[int]":
    """What a kernel gets: sizes, and addresses of tensors."""
    assert all(isinstance(value, int) or value.is_contiguous() for value in arguments)
    return array("q", [value if isinstance(value, int) else value.data_ptr() for value in arguments])


def _address(words: "array[int]") -> int:
    return words.buffer_info()[0]


def pool() -> Pool:
    """The pool of as many threads as torch uses now, or used before `torch_alone`."""
    return _pool(threads(), os.getpid())


@cache
def _pool(threads: int, process: int) -> Pool:
    return Pool(threads)


@compiled
def _call(kernel, arguments, items):
    call(kernel, arguments, 0, items)


@compiled
def _prepare(words):
    sem_init(words + 8 * SEMAPHORE, 0, 0)


@njit(inline="always")
def _take_part(words):
    while True:
        taken = atomic_add(words + 8 * NEXT, 1)
        count = atomic_load(words + 8 * COUNT)
        if taken >> 32 != count >> 32 or taken & LOW >= count & LOW:
            return
        items, chunk = atomic_load(words + 8 * ITEMS), atomic_load(words + 8 * CHUNK)
        function, arguments = atomic_load(words + 8 * KERNEL), atomic_load(words + 8 * ARGUMENTS)
        first = (taken & LOW) * chunk
        call(function, arguments, first, min(first + chunk, items))
        atomic_add(words + 8 * DONE, 1)


@njit(inline="always")
def _turn(words, kernel, arguments, items, threads):
    """Begin a turn, wake who sleeps, take part, and wait for the chunks that others still compute."""
    chunk = max(1, min(256, items // (16 * threads))) if threads > 1 else max(1, items)
    turn = ((atomic_load(words + 8 * NEXT) >> 32) + 1) << 32
    chunks = (items + chunk - 1) // chunk
    atomic_swap(words + 8 * KERNEL, kernel)
    atomic_swap(words + 8 * ARGUMENTS, arguments)
    atomic_swap(words + 8 * ITEMS, items)
    atomic_swap(words + 8 * CHUNK, chunk)
    atomic_swap(words + 8 * DONE, 0)
    atomic_swap(words + 8 * COUNT, turn | chunks)
    atomic_swap(words + 8 * NEXT, turn)
    if chunks > 1:
        for _ in range(atomic_swap(words + 8 * SLEEPING, 0)):
            sem_post(words + 8 * SEMAPHORE)
    _take_part(words)
    while atomic_load(words + 8 * DONE) < chunks:
        sched_yield()


@compiled
def _run(words, kernel, arguments, items, threads):
    _turn(words, kernel, arguments, items, threads)


@compiled
def _play(words, program, count, threads):
    for number in range(count):
        step = program + 8 * HEAD * number
        kernel, items, arguments = load_i64(step), load_i64(load_i64(step + 8)), load_i64(step + 16)
        if load_i64(step + 24):
            _turn(words, kernel, arguments, items, threads)
        else:
            call(kernel, arguments, 0, items)


@compiled
def _serve(words):
    """Take part in every turn until a signal ends the sleep between two."""
    turn, looks = np.int64(0), 0
    while True:
        now = atomic_load(words + 8 * NEXT) >> 32
        if now != turn:
            _take_part(words)
            turn, looks = now, 0
        elif looks < PATIENCE:
            sched_yield()
            looks += 1
        else:
            atomic_add(words + 8 * SLEEPING, 1)
            if sem_wait(words + 8 * SEMAPHORE) != 0:
                return
            looks = 0
