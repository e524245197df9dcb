"""The threads of a kernel compute each item once, awake or asleep."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
import torch
from ad_hoc import kernel

from harmony.kernels.cpu.compiled.llvm import atomic_add
from harmony.kernels.cpu.linear import linear
from harmony.kernels.cpu.pool import Pool, pool


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_result(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of threads gives the same bits, after a rest in which they fall asleep as well."""
    x, weight = torch.randn(1, 96).bfloat16(), torch.randn(999, 96).bfloat16()
    wanted = linear(x, weight, None)
    several = Pool(threads)
    monkeypatch.setattr("harmony.kernels.cpu.linear.pool", lambda: several)
    for turn in range(60):
        if turn % 20 == 19:
            time.sleep(0.05)
        assert torch.equal(linear(x, weight, None), wanted)


@kernel
def _count(arguments, first, last):
    for item in range(first, last):
        atomic_add(arguments[0] + 8 * item, 1)


def test_each_item_is_computed_once() -> None:
    """In hundreds of turns of all sizes, which several callers ask for at once."""
    several, sizes = Pool(3), range(1, 300)

    def count() -> torch.Tensor:
        counts = torch.zeros(len(sizes), dtype=torch.int64)
        for size in sizes:
            several.run(_count, size, counts)
        return counts

    with ThreadPoolExecutor(3) as callers:
        for counted in [callers.submit(count) for _ in range(3)]:
            assert counted.result().tolist() == list(reversed(sizes))


def test_nobody_waits_for_a_thread_that_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller computes all by itself when the others never run."""
    monkeypatch.setattr(Thread, "start", lambda thread: None)
    counts = torch.zeros(100, dtype=torch.int64)
    Pool(3).run(_count, 100, counts)
    assert counts.eq(1).all()


def test_a_pool_for_each_number_of_threads() -> None:
    """The pool follows torch.set_num_threads."""
    before = pool()
    torch.set_num_threads(2)
    assert pool() is not before
    torch.set_num_threads(1)
    assert pool() is before


ALONE = """
import os
import torch
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.threads import torch_alone

torch.set_num_threads(3)
def threads():
    return len(os.listdir("/proc/self/task"))
x, several = torch.randn(1_000_000), pool()
before = threads()
with torch_alone(), torch_alone():
    x.amax(), torch.cat((x, x))
    assert pool() is several
    assert (threads(), torch.get_num_threads()) == (before, 1), "torch took threads"
assert torch.get_num_threads() == 3
x.amax(), torch.cat((x, x))
assert threads() == before + 2
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_torch_computes_alone_beside_the_pool() -> None:
    """Then none of its threads begins to wait awake, and its number is what it was before."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
