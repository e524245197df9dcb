"""The machine code of torch, loaded ahead of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is loaded")

AHEAD = """
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from harmony.runtime import libraries

if sys.argv[1:]:
    libraries.find_spec = lambda name: eval(sys.argv[1])
libraries.load_torch_ahead()
assert "torch" not in sys.modules
print("libtorch_cpu.so" in Path("/proc/self/maps").read_text())
"""
COMPUTED = "import torch; assert (torch.ones(200, 200) @ torch.ones(200, 200) == 200).all()"


def loaded(program: str, *arguments: str) -> bool:
    """Whether the library was loaded by the function."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout == "True\n"


@pytest.mark.skipif(
    any((torch.version.cuda, torch.version.hip, torch.version.xpu)), reason="a build for a GPU"
)
def test_the_library_is_there_before_the_import_which_uses_it() -> None:
    """Torch then computes as ever."""
    assert loaded(AHEAD + COMPUTED)


@pytest.mark.parametrize("spec", ["None", "ModuleSpec('torch', None)"])
def test_what_is_not_there_is_left_to_the_import(spec: str) -> None:
    """Without torch, or with a package that has no file."""
    assert not loaded(AHEAD, spec)


@pytest.mark.parametrize(
    ("beside", "wanted"), [((), True), (("libtorch_cuda.so",), False), (("libtorch_xpu.so",), False)]
)
def test_builds_for_a_gpu_are_left_to_the_import(
    beside: tuple[str, ...], wanted: bool, tmp_path: Path
) -> None:
    """Only where torch has no library for a GPU its other one is loaded, here a small one in its place."""
    theirs, ours = Path(torch.__file__).with_name("lib"), tmp_path / "lib"
    ours.mkdir()
    shutil.copy(theirs / "libtorch_global_deps.so", ours / "libtorch_cpu.so")
    for library in theirs.glob("libgomp*"):
        (ours / library.name).symlink_to(library)
    for name in beside:
        (ours / name).touch()
    assert loaded(AHEAD, f"ModuleSpec('torch', None, origin='{tmp_path}/__init__.py')") == wanted
