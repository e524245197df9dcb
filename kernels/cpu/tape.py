"""Kernels that are listed once, and then run one after another without Python between them.

While a tape records, no kernel runs: each that is called is written down with the addresses of what it is
given. What kernels write is made by `empty`; as soon as the last kernel that is given it has run, its memory
serves another. All else must stay where it is, and is read anew each time.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import local

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
HEAD = (
    5  # words of a step: its kernel, where its items and its arguments are, whether threads share it, items
)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A kernel's call; the number of `items` may be a tensor int64 [1] that an earlier kernel fills."""

    kernel: int
    items: Tensor | int
    arguments: Sequence[Tensor | int]
    shared: bool

    @property
    def tensors(self) -> list[Tensor]:
        return [value for value in (self.items, *self.arguments) if isinstance(value, Tensor)]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """What `Pool.play` runs, again and again: a step of each of `kernels`, which leave their `result`."""

    address: int
    kernels: Sequence[int]
    result: Tensor
    kept: object  # the owners of the memory

    def steps(self) -> Iterator["Program"]:
        """Each step alone; all one after the other do what the program does."""
        for number, kernel in enumerate(self.kernels):
            yield replace(self, address=self.address + 8 * HEAD * number, kernels=(kernel,))


class Tape:
    """A list of steps in the making."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._made: dict[int, Tensor] = {}

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        made = torch.empty(shape, dtype=dtype)
        self._made[_storage(made)] = made
        return made

    def add(self, step: Step) -> None:
        self._steps.append(step)

    def program(self, result: Tensor) -> Program:
        """The steps with their memory; `result`, which the last of them write, lasts until the next run."""
        places, size = self._placed(result)
        memory = torch.empty(size, dtype=torch.uint8)

        def address(value: Tensor | int) -> int:
            if isinstance(value, int):
                return value
            begin = _storage(value)
            if begin not in places:
                return value.data_ptr()
            return memory.data_ptr() + places[begin] + value.data_ptr() - begin

        arguments = [list(map(address, step.arguments)) for step in self._steps]
        words = torch.empty(sum(map(len, arguments)) + HEAD * len(self._steps), dtype=torch.int64)
        heads, begin, end = [], words.data_ptr(), words.data_ptr() + 8 * HEAD * len(self._steps)
        for number, (step, given) in enumerate(zip(self._steps, arguments, strict=True)):
            dynamic = isinstance(step.items, Tensor)
            items = address(step.items) if dynamic else begin + 8 * (HEAD * number + HEAD - 1)
            heads += [step.kernel, items, end, step.shared, 0 if dynamic else step.items]
            end += 8 * len(given)
        words.copy_(torch.tensor(heads + [word for given in arguments for word in given]))
        outside = [t for step in self._steps for t in step.tensors if _storage(t) not in places]
        found = memory[places[_storage(result)] :][: result.nbytes].view(result.dtype).view(result.shape)
        kernels = [step.kernel for step in self._steps]
        return Program(begin, kernels, found, (words, memory, outside))

    def _placed(self, result: Tensor) -> tuple[dict[int, int], int]:
        """Where in one piece of memory each tensor that was made lies, by its address here; and the size."""
        ends = {
            _storage(tensor): number for number, step in enumerate(self._steps) for tensor in step.tensors
        }
        ends[_storage(result)] = len(self._steps)
        places: dict[int, int] = {}
        free: defaultdict[int, list[int]] = defaultdict(list)
        size = 0
        for number, step in enumerate(self._steps):
            used = {_storage(tensor) for tensor in step.tensors} & self._made.keys()
            for tensor in sorted(used - places.keys()):
                room = self._room(tensor)
                if free[room]:
                    places[tensor] = free[room].pop()
                else:
                    places[tensor], size = size, size + room
            for tensor in sorted(used):
                if ends[tensor] == number:
                    free[self._room(tensor)].append(places[tensor])
        return places, size

    def _room(self, storage: int) -> int:
        return -(-self._made[storage].nbytes // ALIGNMENT) * ALIGNMENT


class _Recording(local):
    tape: Tape | None = None


_RECORDING = _Recording()


@contextmanager
def recording() -> Iterator[Tape]:
    """Write down the kernels that this thread calls, in place of running them."""
    tape = _RECORDING.tape = Tape()
    try:
        yield tape
    finally:
        _RECORDING.tape = None


def tape() -> Tape | None:
    """That of this thread, if it records."""
    return _RECORDING.tape


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Room for what a kernel writes."""
    recorded = tape()
    return torch.empty(shape, dtype=dtype) if recorded is None else recorded.empty(shape, dtype)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
