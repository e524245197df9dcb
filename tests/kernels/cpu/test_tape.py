"""What was recorded computes what the calls compute, on whatever its input holds then."""

import pytest
import torch
from ad_hoc import kernel
from torch import Tensor

from harmony.kernels.cpu.compiled.llvm import store_i64
from harmony.kernels.cpu.elementwise import rms_norm
from harmony.kernels.cpu.linear import linear
from harmony.kernels.cpu.loading import name_of
from harmony.kernels.cpu.pool import compute, pool
from harmony.kernels.cpu.tape import empty, recording


def deep(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Some layers, in which much that is made is needed for a short time and the rest for longer."""
    scale = torch.ones(x.shape[1])
    for weight in weights:
        normed = rms_norm(x, scale, 1e-5)
        hidden = linear(normed, weight, None, residual=normed)
        x = linear(hidden, weight, None, residual=x)
    return x


@pytest.mark.parametrize("threads", [1, 2])
def test_a_program_computes_what_the_calls_do(threads: int) -> None:
    """Each time on what its input holds, with memory of its own."""
    torch.set_num_threads(threads)  # one_thread sets it back
    weights = [torch.randn(64, 64).bfloat16() / 8 for _ in range(12)]
    x = torch.empty(3, 64, dtype=torch.bfloat16)
    with recording() as recorded:
        result = deep(x, weights)
    program = recorded.program(result)
    for _ in range(3):
        x.copy_(torch.randn(3, 64))
        pool().play(program)
        assert torch.equal(program.result, deep(x, weights))


def test_steps_alone_do_what_the_program_does() -> None:
    """One after the other, each with its kernel's name."""
    x, weights = torch.randn(3, 64).bfloat16(), [torch.randn(64, 64).bfloat16() / 8]
    with recording() as recorded:
        result = deep(x, weights)
    program = recorded.program(result)
    for step in program.steps():
        pool().play(step)
    assert torch.equal(program.result, deep(x, weights))
    names = [name_of(kernel) for kernel in program.kernels]
    assert [name for name in names if name != "widen"] == ["rms_norm", "linear", "linear"]


def test_memory_is_used_again() -> None:
    """Twice as many layers take no more of it."""
    sizes = []
    for layers in (4, 8):
        x, weights = torch.zeros(1, 64).bfloat16(), [torch.zeros(64, 64).bfloat16()] * layers
        with recording() as recorded:
            result = deep(x, weights)
        sizes.append(recorded.program(result).result.untyped_storage().nbytes())
    assert sizes[0] == sizes[1] < 4 * 2 * 4 * 64


@kernel
def _count(arguments, first, last):
    store_i64(arguments[0], arguments[1])


@kernel
def _mark(arguments, first, last):
    for item in range(first, last):
        store_i64(arguments[0] + 8 * item, 1)


def test_a_kernel_says_how_many_items_another_has() -> None:
    """Known only when the program runs."""
    marks = torch.zeros(100, dtype=torch.int64)
    with recording() as recorded:
        count = empty(3, dtype=torch.int64)
        compute(_count, 1, count[2:], 37)
        pool().run(_mark, count[2:], marks)
    assert not marks.any()
    pool().play(recorded.program(count))
    assert marks.sum() == 37


def failing() -> None:
    with recording():
        pool().run(_mark, 1, torch.zeros(1, dtype=torch.int64))
        torch.zeros(2).view(3)


def test_recording_ends_with_its_block() -> None:
    """Also where it fails; then kernels run again."""
    with pytest.raises(RuntimeError, match="invalid"):
        failing()
    marks = torch.zeros(1, dtype=torch.int64)
    pool().run(_mark, 1, marks)
    assert marks.item() == 1
