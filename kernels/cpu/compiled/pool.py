"""Threads that compute the items of a kernel together."""

import numpy as np
from numba import njit, types

from harmony.kernels.cpu.compiled.llvm import atomic_add, atomic_load, atomic_swap, call, load_i64
from harmony.kernels.cpu.pool import (
    ARGUMENTS,
    CHUNK,
    COUNT,
    DONE,
    ITEMS,
    KERNEL,
    NEXT,
    SEMAPHORE,
    SLEEPING,
)
from harmony.kernels.cpu.tape import HEAD

LOW = 0xFFFFFFFF
PATIENCE = 2000  # looks for a turn before a thread goes to sleep: about a millisecond of an idle core
sched_yield = types.ExternalFunction("sched_yield", types.int32())
sem_init = types.ExternalFunction("sem_init", types.int32(types.int64, types.int32, types.int32))
sem_post = types.ExternalFunction("sem_post", types.int32(types.int64))
sem_wait = types.ExternalFunction("sem_wait", types.int32(types.int64))


def compute(kernel, arguments, items):
    call(kernel, arguments, 0, items)


def prepare(words):
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


def run(words, kernel, arguments, items, threads):
    _turn(words, kernel, arguments, items, threads)


def play(words, program, count, threads):
    for number in range(count):
        step = program + 8 * HEAD * number
        kernel, items, arguments = load_i64(step), load_i64(load_i64(step + 8)), load_i64(step + 16)
        if load_i64(step + 24):
            _turn(words, kernel, arguments, items, threads)
        else:
            call(kernel, arguments, 0, items)


def serve(words):
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
