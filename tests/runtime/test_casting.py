"""Tensors in another dtype, as torch would cast them."""

import mmap
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony.runtime.casting import cast

STATUS = Path("/proc/self/status")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(256,), (8, 32), (4, 8, 8)])
def test_every_float8(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Each of the 256 codes, zeros of either sign and what is no number among them, bit for bit."""
    stored = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).view(shape)
    found = cast(stored, dtype)
    assert (found.dtype, found.shape) == (dtype, shape)
    assert torch.equal(found.view(torch.uint8), stored.to(dtype).view(torch.uint8))


def test_other_dtypes() -> None:
    """They are cast by torch, or left where they are."""
    stored = torch.randn(4, 8)
    assert torch.equal(cast(stored, torch.bfloat16), stored.bfloat16())
    assert cast(stored, torch.float32).data_ptr() == stored.data_ptr()


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells how much memory is in use")
@pytest.mark.parametrize("huge", [False, True])
def test_rows_of_zeros_take_no_memory(huge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 MiB with numbers in every thousandth row hardly anything is written, nor when all is read.

    Also where the system gives 2 MiB at a time to whatever may have so much.
    """

    fresh = mmap.mmap

    def mapped(*arguments: Any, **options: Any) -> mmap.mmap:
        made = fresh(*arguments, **options)
        if huge:
            made.madvise(mmap.MADV_HUGEPAGE)
        return made

    monkeypatch.setattr(mmap, "mmap", mapped)
    stored = torch.zeros(2**18, 128, dtype=torch.float8_e4m3fn)
    stored[::1000] = 1.5
    before = _resident()
    found = cast(stored, torch.bfloat16)
    assert int(found.count_nonzero()) == 263 * 128
    assert _resident() - before < 2**24


def _resident() -> int:
    """Bytes of memory that are no part of a file."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])
