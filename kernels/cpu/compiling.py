"""Kernels as C functions, compiled by numba once for a machine, and later loaded as they are kept."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numba
from llvmlite import __version__ as llvmlite_version
from llvmlite import binding
from numba import types
from numba.core.codegen import get_host_cpu_features

from harmony.kernels.cpu import level
from harmony.kernels.cpu.kept import Kept

SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64)
NOTHING_TO_FREE = """
declare void @llvm.trap()
define void @NRT_MemInfo_call_dtor(ptr %owner) {
  call void @llvm.trap()
  unreachable
}
"""  # which numba calls for an array that owns its memory; those of kernels own none


def kernel(function: Callable[..., None]) -> int:
    """Compile a function of (arguments, first, last) and give its address, for `Pool.run`.

    `arguments` points to int64 addresses and sizes; the function computes the items first <= i < last. What
    it calls is compiled into it, or in the C library.
    """
    address = _address(function, SIGNATURE)
    _NAMES[address] = function.__name__.removeprefix("_")
    return address


def name_of(kernel: int) -> str:
    """What the function at this address is called, without its underscore."""
    return _NAMES[kernel]


_NAMES: dict[int, str] = {}


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function of int64 numbers that Python calls, and that lets other threads of Python run."""
    count = function.__code__.co_argcount
    address = _address(function, types.void(*count * [types.int64]))
    return ctypes.CFUNCTYPE(None, *count * [ctypes.c_int64])(address)


def _address(function: Callable[..., None], signature: Any) -> int:
    name = f"{function.__module__}.{function.__qualname__}"
    kept = _kept() if function.__module__.startswith(f"{__package__}.") else None
    code = kept and kept.read(name)
    if not code:
        code = _object_code(function, signature, name)
        if kept:
            kept.write(name, code)
    with _LOADING:
        engine = _engine()
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
        return int(engine.get_function_address(name))


_LOADING = Lock()


def _object_code(function: Callable[..., None], signature: Any, name: str) -> bytes:
    """An object file in which the function is the symbol `name`, and the only one."""
    made = numba.cfunc(signature, error_model="numpy", forceinline=True)(function)
    module = binding.parse_assembly(made.inspect_llvm())
    module.link_in(binding.parse_assembly(NOTHING_TO_FREE))
    entry, library = module.get_function(made.native_name), ctypes.CDLL(None)
    for other in module.functions:
        if not other.is_declaration:
            other.linkage = "external" if other.name == entry.name else "internal"
        elif not other.name.startswith("llvm."):
            assert hasattr(library, other.name), f"{name} calls {other.name}, which is not in the C library"
    entry.name = name
    return bytes(_machine().emit_object(module))


@cache
def _engine() -> Any:
    """What loads object files, and owns the code."""
    return binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())


def _machine() -> Any:
    """The CPU, as numba has LLVM compile for it."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = _cpu()
    target = binding.Target.from_triple(binding.get_process_triple())
    relocation = "static" if platform.machine() == "x86_64" else "default"
    return target.create_target_machine(cpu, features, numba.config.OPT, relocation, "jitdefault", jit=True)


def _cpu() -> tuple[str, str]:
    """Its name and features, which variables of numba may override."""
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    return (
        binding.get_host_cpu_name() if name is None else name,
        get_host_cpu_features() if features is None else features,
    )


@cache
def _kept() -> Kept:
    """The code that was compiled before, in gpt-oss-harmony/ below $XDG_CACHE_HOME or ~/.cache.

    Of these sources, at this level, for this CPU, with these settings, and by these versions.
    """
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    versions = numba.__version__, llvmlite_version, sys.implementation.cache_tag
    digest = sha256(repr((level(), _cpu(), settings, versions)).encode())
    here = Path(__file__).parent
    for source in sorted([*here.glob("*.py"), *here.parent.glob("*.py")]):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Kept(home / "gpt-oss-harmony" / f"kernels-{digest.hexdigest()[:16]}", digest.digest())
