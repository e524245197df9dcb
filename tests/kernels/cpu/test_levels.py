"""Every level computes the same, whatever the CPU's best one is; and what choosing one costs and says."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harmony.kernels import cpu
from harmony.kernels.cpu import CHOICE, _runnable

HERE = Path(__file__).parent


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


LEAST_CPU = (
    {"avx512vnni": "cascadelake", "avx512f": "skylake-avx512", "avx2": "haswell", "plain": "x86-64"}
    if platform.machine() == "x86_64"
    else {}
)


@pytest.mark.parametrize("level", [name for name in _runnable()[1:] if name != "torch"])
def test_level(level: str) -> None:
    """The other tests of this folder pass at each lower level, compiled for the least CPU that it needs."""
    files = [str(HERE / "test_mxfp4.py"), str(HERE / "test_operations.py")]
    least = {"NUMBA_CPU_NAME": LEAST_CPU[level], "NUMBA_CPU_FEATURES": ""} if LEAST_CPU else {}
    done = run("-m", "pytest", "-x", *files, **{CHOICE: level}, **least)
    assert done.returncode == 0, done.stdout


WITHOUT_NUMBA = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "numba" else find(name)
"""
REFERENCE = """
import sys, torch
from harmony.kernels import cpu, rms_norm
rms_norm.rms_norm(torch.ones(2, 4).bfloat16(), torch.ones(4), 1e-5)
assert cpu.level() == "torch" and not sys.modules.get("numba")
"""


def test_torch_needs_no_numba() -> None:
    """At level torch the reference computes, and numba is not loaded."""
    done = run("-c", REFERENCE, **{CHOICE: "torch"})
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_numba_is_told_once() -> None:
    """Without numba the reference computes, and one line says what would make the model fast."""
    done = run("-c", WITHOUT_NUMBA + REFERENCE + "cpu.level()")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install numba") == 1


def test_unknown_level() -> None:
    """A level that cannot run is an error that lists those that can."""
    done = run("-c", "from harmony.kernels import cpu; cpu.level()", **{CHOICE: "avx1024"})
    assert "ModelError: HARMONY_CPU_KERNELS is 'avx1024'; unset it or choose one of" in done.stderr


def test_compiled_code_is_kept(tmp_path: Path) -> None:
    """It lies below XDG_CACHE_HOME; where nothing can be written, kernels are compiled at each start."""
    program = "from harmony.kernels.cpu.pool import pool; pool()"
    assert run("-c", program, XDG_CACHE_HOME=str(tmp_path)).returncode == 0
    assert list(tmp_path.glob("gpt-oss-harmony/kernels-*/*.o"))
    (tmp_path / "file").touch()
    done = run("-c", program, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr


def test_torch_keeps_its_threads_where_it_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own level no step is computed by our threads, however few its rows."""
    monkeypatch.setattr(cpu, "level", lambda: "torch")
    assert not cpu.computes_alone(1)
