"""Kernels that a test writes for itself."""

from collections.abc import Callable

from harmony.kernels.cpu.compiling import object_code
from harmony.kernels.cpu.loading import load


def kernel(function: Callable[..., None]) -> int:
    """Compile a function of (arguments, first, last) and give its address, for `Pool.run`."""
    name = f"{function.__module__}.{function.__qualname__}"
    return load(name, object_code(function, name, pointers=1, numbers=2))
