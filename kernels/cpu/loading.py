"""Kernels as C functions, loaded as they were kept; what is not kept is compiled, once for a machine."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from llvmlite import __version__ as llvmlite_version
from llvmlite import binding

from harmony.kernels.cpu import level
from harmony.kernels.cpu.kept import Kept


def kernel(name: str) -> int:
    """The address of a function of (arguments, first, last), for `Pool.run`.

    `name` is "module.function", of those in `harmony.kernels.cpu.compiled`. `arguments` points to int64
    addresses and sizes; the function computes the items first <= i < last.
    """
    return _ADDRESSES.get(name) or _loaded(name, pointers=1, numbers=2)


@cache
def function(name: str, numbers: int) -> Callable[..., None]:
    """A function there of so many int64 numbers, for Python; its other threads run meanwhile."""
    address = _loaded(name, pointers=0, numbers=numbers)
    return ctypes.CFUNCTYPE(None, *numbers * [ctypes.c_int64])(address)


def name_of(kernel: int) -> str:
    """What the function at this address is called in its module."""
    return next(name for name, address in _ADDRESSES.items() if address == kernel).rpartition(".")[2]


_ADDRESSES: dict[str, int] = {}
_LOADING = Lock()


def _loaded(name: str, *, pointers: int, numbers: int) -> int:
    with _LOADING:
        if name not in _ADDRESSES:
            load(name, _code(name, pointers, numbers))
        return _ADDRESSES[name]


def load(name: str, code: bytes) -> int:
    """Load an object file, and give the address of its symbol `name`, by which it is found from now on."""
    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return _ADDRESSES.setdefault(name, int(engine.get_function_address(name)))


def _code(name: str, pointers: int, numbers: int) -> bytes:
    code = _kept().read(name)
    if code is None:
        from harmony.kernels.cpu.compiling import function_of, object_code

        code = object_code(function_of(name), name, pointers=pointers, numbers=numbers)
        _kept().write(name, code)
    return code


@cache
def _engine() -> Any:
    """What loads object files, and owns the code."""
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine(optimization=0))


def machine(*, optimization: int) -> Any:
    """The CPU that LLVM makes code for."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = _cpu()
    target = binding.Target.from_triple(binding.get_process_triple())
    relocation = "static" if platform.machine() == "x86_64" else "default"
    return target.create_target_machine(cpu, features, optimization, relocation, "jitdefault", jit=True)


def _cpu() -> tuple[str, str]:
    """Its name and features, which numba's variables may override."""
    return (
        os.environ.get("NUMBA_CPU_NAME", binding.get_host_cpu_name()),
        os.environ.get("NUMBA_CPU_FEATURES", binding.get_host_cpu_features().flatten()),
    )


@cache
def _kept() -> Kept:
    """The code that was compiled before, in gpt-oss-harmony/ below $XDG_CACHE_HOME or ~/.cache.

    Of these sources, at this level, for this CPU, with these settings, and by these versions.
    """
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    versions = version("numba"), llvmlite_version, sys.implementation.cache_tag
    digest = sha256(repr((level(), _cpu(), settings, versions)).encode())
    here = Path(__file__).parent
    for source in sorted([*here.rglob("*.py"), *here.parent.glob("*.py")]):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Kept(home / "gpt-oss-harmony" / f"kernels-{digest.hexdigest()[:16]}", digest.digest())
