"""Public names whose modules are loaded when a name is first used."""

from collections.abc import Callable, Mapping
from importlib import import_module


def from_homes(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package, of whose modules `homes` says where each public name stands."""

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load
