"""Threads that compute the items of a kernel together."""

import os
from array import array
from functools import cache
from threading import Lock, Thread

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import function
from harmony.kernels.cpu.tape import Program, Step, tape
from harmony.kernels.cpu.threads import threads

# The words that the threads share, each in a cache line of its own. NEXT and COUNT hold the number of the
# turn in their upper half, and below it the chunk that is handed out next and how many there are. So a
# thread that comes late cannot mistake a chunk of one turn for one of another, and nobody waits for it; and
# a chunk that is handed out keeps its turn, and all that these words say of it, from ending.
NEXT, COUNT, DONE, KERNEL, ARGUMENTS, ITEMS, CHUNK, SLEEPING, SEMAPHORE = range(0, 72, 8)
ALONE = 2  # rows that take less time than it takes to hand them out


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
        function("pool.prepare", 1)(self._words)
        for number in range(threads - 1):
            Thread(target=self._serve, name=f"harmony-kernel-{number}", daemon=True).start()

    def run(self, kernel: int, items: Tensor | int, *arguments: Tensor | int) -> None:
        """Compute all `items` of the kernel at this address."""
        if (recorded := tape()) is not None:
            recorded.add(Step(kernel, items, arguments, shared=True))
            return
        given = _words(arguments)
        with self._turns:
            function("pool.run", 5)(self._words, kernel, _address(given), int(items), self._threads)

    def play(self, program: Program) -> None:
        """Compute what was recorded."""
        with self._turns:
            function("pool.play", 4)(self._words, program.address, len(program.kernels), self._threads)

    def _serve(self) -> None:
        while True:
            function("pool.serve", 1)(self._words)


def compute(kernel: int, items: int, *arguments: Tensor | int) -> None:
    """Compute all `items` in this thread: for kernels that take less time than handing them out."""
    if (recorded := tape()) is not None:
        recorded.add(Step(kernel, items, arguments, shared=False))
        return
    given = _words(arguments)
    function("pool.compute", 3)(kernel, _address(given), items)


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
