"""The reference is written, and every public name is described in it or where it is defined."""

import ast
import inspect
import subprocess
import sys
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from harmony.docs import reference
from harmony.docs.reference import PACKAGES

PUBLIC = [(package, name) for package in PACKAGES for name in getattr(import_module(package), "__all__", ())]
KERNELS = ("attention", "linear", "moe", "mxfp4", "packed", "rms_norm", "rope", "swiglu")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference, as its command writes it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "harmony.docs.reference", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "does not resolve" not in done.stderr
    return folder


def test_without_pdoc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names what to install."""
    monkeypatch.setattr(reference, "find_spec", lambda name: None)
    assert reference.main([str(tmp_path)]) == 2
    assert "gpt-oss-harmony[docs]" in capsys.readouterr().err


def test_every_package_has_a_page_with_its_public_names(pages: Path) -> None:
    """Those that are loaded only when they are used among them."""
    missing = [
        (package, name)
        for package, name in PUBLIC
        if f'id="{name}"' not in (pages / f"{package.replace('.', '/')}.html").read_text(encoding="utf-8")
    ]
    assert missing == []
    assert {page.stem for page in (pages / "harmony" / "kernels").glob("*.html")} >= {*KERNELS}


@cache
def described_values() -> set[str]:
    """The names in our sources to which a value is assigned, with a text that says what it is below it."""
    described = set()
    homes = {import_module(package).__file__ for package in PACKAGES}
    for source in (path for home in homes if home for path in Path(home).parent.glob("*.py")):
        body = ast.parse(source.read_text(encoding="utf-8")).body
        for statement, below in pairwise(body):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                match statement:
                    case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                        described.add(name)
    return described


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_a_public_name_says_what_it_is(package: str, name: str) -> None:
    """A class or function in a docstring of its own, a value in the text below it."""
    public = getattr(import_module(package), name)
    if inspect.isclass(public):
        own = vars(public).get("__doc__") or ""
        assert own.startswith(f"{name}(") is False, "a dataclass describes itself by its signature alone"
        assert own or name in described_values()
    elif inspect.isroutine(inspect.unwrap(public)):
        assert public.__doc__
    else:
        assert name in described_values()


CLASSES = {
    public for package, name in PUBLIC if inspect.isclass(public := getattr(import_module(package), name))
}


@pytest.mark.parametrize("public", sorted(CLASSES, key=str))
def test_what_a_public_class_offers_says_what_it_does(public: type) -> None:
    """Its methods and properties, by a docstring of their own or of what they override."""
    offered = (name for name, value in vars(public).items() if callable(getattr(value, "fget", value)))
    methods = [
        name for name in offered if not name.startswith("_") and not isinstance(vars(public)[name], type)
    ]
    assert [name for name in methods if not inspect.getdoc(getattr(public, name))] == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_functions_of_a_kernel_say_what_they_compute(kernel: str) -> None:
    """They take and give tensors, so their shapes stand in them."""
    module = import_module(f"harmony.kernels.{kernel}")
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            assert function.__doc__, name
