"""What the compiler makes of every kernel, for GPUs that are not there."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import triton

PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
pytestmark = pytest.mark.skipif(not PTXAS.exists(), reason="this Triton ships no ptxas")

BEST_COMPILER = triton.__version__.startswith("3.6.")
SHARED = {"cuda:80": 163 << 10, "cuda:90": 227 << 10, "cuda:100": 227 << 10, "hip:gfx942": 64 << 10}
MATRIX_PRODUCTS = {"cuda:80": r"HMMA", "cuda:90": r"HMMA|HGMMA", "cuda:100": r"HMMA|UTCHMMA"}


@dataclass(frozen=True)
class Report:
    target: str
    kernels: dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=sorted(SHARED))
def report(request: pytest.FixtureRequest) -> Report:
    """All kernels for one target, compiled in a process that does not interpret."""
    command = (sys.executable, "-W", "ignore", "-m", "harmony.kernels.triton.ahead", request.param, "--json")
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Report(request.param, json.loads(done.stdout))


def test_nothing_spills(report: Report) -> None:
    """At most 16 bytes of stack; the tools of the wheel read CUDA code alone."""
    assert {name: k["stack"] for name, k in report.kernels.items() if k["stack"] > 16} == {}


def test_shared_memory_fits(report: Report) -> None:
    """Each kernel leaves room for itself on a multiprocessor."""
    limit = SHARED[report.target]
    assert {name: k["shared"] for name, k in report.kernels.items() if k["shared"] > limit} == {}


MULTIPLY = {
    *("expert_up", "expert_up 8 tokens", "expert_down", "expert_down 8 tokens", "qkv", "dense out"),
    *("decode_attention", "prefill_attention", "expert_gemm up", "expert_gemm down", "unembed_sample"),
}


def test_tensor_cores_are_used(report: Report) -> None:
    """Kernels that multiply matrices compile to matrix instructions."""
    assert {name for name, k in report.kernels.items() if k["multiplies"]} == MULTIPLY
    assert {
        name for name, k in report.kernels.items() if k["multiplies"] and not k["matrix_products"]
    } == set()


def test_instructions_a_value(report: Report) -> None:
    """Decoding one MXFP4 value costs at most 3.1 instructions, with the compiler that the target runs.

    4.3 TB/s is 8.1e12 values a second, and an H200 issues 3.7 to 4.1 instructions for each in that time.
    Triton 3.9 spends a half more on joining half words.
    """
    if report.target != "cuda:90":
        pytest.skip("the budget is that of an H100 or H200")
    costs = {name: k["a_value"] for name, k in report.kernels.items() if k["a_value"]}
    assert len(costs) >= 4
    assert max(costs.values()) <= (3.1 if BEST_COMPILER else 3.6), costs


def test_decoding_keeps_up_with_the_tensor_cores(report: Report) -> None:
    """A pass of the grouped products takes no more issue slots than its matrix products take time.

    64 columns of 128 rows and 128 tokens are 512 clocks of an H100's tensor cores, at 2048 products a clock;
    eight warps on four schedulers issue 256 instructions each in that time. Half the rows have four warps.
    """
    if report.target != "cuda:90":
        pytest.skip("the budget is that of an H100 or H200")
    assert {name: k["loop"] for name, k in report.kernels.items() if "gemm" in name and k["loop"] > 256} == {}


def test_kernels_wait_for_the_one_before(report: Report) -> None:
    """From compute capability 9.0 on, every kernel is a programmatic dependent launch."""
    if report.target in ("cuda:90", "cuda:100"):
        assert {name for name, k in report.kernels.items() if not k["waits"]} == set()
