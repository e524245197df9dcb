"""The machine code of torch, loaded ahead of it."""

import subprocess
import sys

import pytest

AHEAD = """
import sys
from pathlib import Path
from harmony.runtime.libraries import load_torch_ahead

def loaded():
    return "libtorch_cpu.so" in Path("/proc/self/maps").read_text()

assert not loaded()
load_torch_ahead()
assert loaded() and "torch" not in sys.modules
import torch
assert (torch.ones(200, 200) @ torch.ones(200, 200) == 200).all()
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is loaded")
def test_what_is_loaded_ahead_is_what_the_import_uses() -> None:
    """The library is there before torch is, which then computes with it."""
    run(AHEAD)


@pytest.mark.parametrize(
    "torch", ["None", "ModuleSpec('torch', None)", "ModuleSpec('torch', None, origin='/nowhere/__init__.py')"]
)
def test_what_is_not_there_is_left_to_the_import(torch: str) -> None:
    """Without torch, or with its libraries elsewhere, nothing happens."""
    run(
        "import importlib.util; from importlib.machinery import ModuleSpec;"
        f"importlib.util.find_spec = lambda name: {torch};"
        "from harmony.runtime.libraries import load_torch_ahead; load_torch_ahead()"
    )
