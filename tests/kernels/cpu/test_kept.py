"""Compiled code that is kept computes what it computed when it was compiled, or is not used."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ad_hoc import kernel

from harmony.kernels.cpu.compiled.llvm import store_i64
from harmony.kernels.cpu.kept import Kept

CODE = bytes(range(256)) * 4


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A folder with one file."""
    made = Kept(tmp_path / "kernels", b"key")
    made.write("one", CODE)
    return made


def test_what_is_kept_is_found(kept: Kept) -> None:
    """Again and again, by its name alone."""
    assert kept.read("one") == kept.read("one") == CODE
    assert kept.read("other") is None


@pytest.mark.parametrize("place", [0, 31, 32, 500, -1])
def test_damage(kept: Kept, place: int) -> None:
    """A wrong bit, or a file that ends early, is as if there was none; it is written anew."""
    path = kept.folder / "one.o"
    content = path.read_bytes()
    changed = bytearray(content)
    changed[place] ^= 1
    for damaged in (bytes(changed), content[:place]):
        path.write_bytes(damaged)
        assert kept.read("one") is None
    kept.write("one", CODE)
    assert path.read_bytes() == content


def test_foreign_code(kept: Kept) -> None:
    """Of another key or another name it is not read, wherever it lies."""
    assert Kept(kept.folder, b"other key").read("one") is None
    (kept.folder / "one.o").rename(kept.folder / "other.o")
    assert kept.read("other") is None


@pytest.mark.parametrize("writer", [stat.S_IWGRP, stat.S_IWOTH])
def test_what_others_can_write_is_not_run(kept: Kept, writer: int) -> None:
    """Whatever it holds; what is kept here never is of that kind, under any umask."""
    path = kept.folder / "one.o"
    path.chmod(0o644 | writer)
    assert kept.read("one") is None
    before = os.umask(0)
    try:
        kept.write("one", CODE)
    finally:
        os.umask(before)
    assert kept.read("one") == CODE


def test_a_folder_that_cannot_be_written(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read, and what is not there is not kept; nor below what is no folder."""
    nowhere = Kept(kept.folder / "one.o" / "kernels", b"key")
    nowhere.write("one", CODE)
    assert nowhere.read("one") is None

    def refuse(*_: object) -> int:
        raise PermissionError

    for refused in ("os.open", "Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(f"harmony.kernels.cpu.kept.{refused}", refuse)
            kept.write("other", CODE)
            assert (kept.read("one"), kept.read("other")) == (CODE, None)
            assert [*kept.folder.iterdir()] == [kept.folder / "one.o"]


def test_many_write_and_read_at_once(kept: Kept) -> None:
    """Each reads all of one file or of another, never a part."""
    codes = [bytes([number]) * 100_000 for number in range(4)]
    kept.write("one", codes[0])

    def work(code: bytes) -> None:
        for _ in range(25):
            kept.write("one", code)
            assert kept.read("one") in codes

    with ThreadPoolExecutor(len(codes)) as threads:
        for done in [threads.submit(work, code) for code in codes]:
            done.result()
    assert [*kept.folder.iterdir()] == [kept.folder / "one.o"]


def test_a_kernel_calls_the_c_library_alone() -> None:
    """What else it needed would be missing where it is loaded without numba."""

    def allocates(arguments, first, last):  # type: ignore[no-untyped-def]
        room = np.empty(last, np.int64)
        store_i64(arguments[0], np.int64(room.ctypes.data))

    with pytest.raises(AssertionError, match="which is not in the C library"):
        kernel(allocates)


PROGRAM = """
import hashlib, sys
import torch
from harmony.kernels.attention import attention

torch.manual_seed(0)
torch.set_num_threads(1)
queries, sinks = torch.randn(40, 8, 64).bfloat16(), torch.randn(8)
keys, values = torch.randn(2, 110, 2, 64).bfloat16()
found = attention(queries, keys, values, sinks)
assert ("numba" in sys.modules) == ("compiles" in sys.argv)
print(hashlib.sha256(found.view(torch.uint8).numpy()).hexdigest())
"""


def test_kernels_compute_the_same_bits_from_the_first_run_on(tmp_path: Path) -> None:
    """Compiled, loaded without numba, and compiled again for a damaged file; another level has its own."""

    def run(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run("compiles")
    assert run() == first
    (folder,) = tmp_path.glob("gpt-oss-harmony/kernels-*")
    path = folder / "attention.attention.o"
    path.write_bytes(path.read_bytes()[:-1])
    assert run("compiles") == run() == first
    run("compiles", HARMONY_CPU_KERNELS="plain")
    assert len([*tmp_path.glob("gpt-oss-harmony/kernels-*")]) == 2
