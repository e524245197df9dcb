"""Object code of functions, by numba and LLVM."""

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numba
from llvmlite import binding
from numba import types

from harmony.kernels.cpu.loading import machine

NOTHING_TO_FREE = """
declare void @llvm.trap()
define void @NRT_MemInfo_call_dtor(ptr %owner) {
  call void @llvm.trap()
  unreachable
}
"""  # which numba calls for an array that owns its memory; those of kernels own none


def function_of(name: str) -> Callable[..., None]:
    """The function of this name, "module.function" in `harmony.kernels.cpu.compiled`."""
    module, _, function = name.partition(".")
    found: Callable[..., None] = getattr(import_module(f"{__package__}.compiled.{module}"), function)
    return found


def object_code(function: Callable[..., None], name: str, *, pointers: int, numbers: int) -> bytes:
    """An object file in which the function is the symbol `name`, and the only one.

    It takes so many pointers to int64, then so many int64 `numbers`. What it calls is compiled into it, or
    in the C library.
    """
    signature = types.void(*pointers * [types.CPointer(types.int64)], *numbers * [types.int64])
    made: Any = numba.cfunc(signature, error_model="numpy", forceinline=True)(function)
    module = binding.parse_assembly(made.inspect_llvm())
    module.link_in(binding.parse_assembly(NOTHING_TO_FREE))
    entry, library = module.get_function(made.native_name), ctypes.CDLL(None)
    for other in module.functions:
        if not other.is_declaration:
            other.linkage = "external" if other.name == entry.name else "internal"
        elif not other.name.startswith("llvm."):
            assert hasattr(library, other.name), f"{name} calls {other.name}, which is not in the C library"
    entry.name = name
    return bytes(machine(optimization=numba.config.OPT).emit_object(module))
