"""The threads of a kernel compute each item once, awake or asleep."""

import time

import pytest
import torch

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


def test_a_pool_for_each_number_of_threads() -> None:
    """The pool follows torch.set_num_threads."""
    before = pool()
    torch.set_num_threads(2)
    assert pool() is not before
    torch.set_num_threads(1)
    assert pool() is before
