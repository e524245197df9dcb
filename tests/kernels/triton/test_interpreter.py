"""The guard of these tests: bfloat16 may be loaded, cast and stored, and nothing else."""

import pytest
import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x, out, FLOAT: tl.constexpr):
    at = tl.arange(0, 4)
    value = tl.load(x + at)
    if FLOAT:
        value = value.to(tl.float32)
    tl.store(out + at, value + value)


@triton.jit
def sum_kernel(x, out):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, 4)), 0))


@triton.jit
def dot_kernel(x, out):
    at = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    value = tl.load(x + at)
    tl.store(out + at, tl.dot(value, value))


def test_arithmetic_in_float32_passes() -> None:
    """A cast after the load makes the sum right."""
    x, out = torch.tensor([1.0, 2.0, 3.0, -4.0]).bfloat16(), torch.empty(4)
    add_kernel[(1,)](x, out, FLOAT=True)
    assert out.tolist() == [2.0, 4.0, 6.0, -8.0]


def test_bfloat16_is_refused() -> None:
    """A sum of two tensors, over one, and a product of matrices all fail loudly."""
    x, out = torch.ones(256).bfloat16(), torch.empty(256)
    with pytest.raises(Exception, match="bfloat16 tensor reached"):
        add_kernel[(1,)](x, out, FLOAT=False)
    with pytest.raises(Exception, match="bfloat16 tensor reached"):
        sum_kernel[(1,)](x, out)
    with pytest.raises(Exception, match="bfloat16 tensor reached"):
        dot_kernel[(1,)](x, out)
