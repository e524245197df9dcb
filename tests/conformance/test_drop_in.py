"""Code written for openai-harmony 0.0.8 runs here once its import line is changed."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harmony

if TYPE_CHECKING:
    from types import ModuleType

    from tests.conftest import Oracle

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))


def public_names(module: ModuleType) -> list[str]:
    """What a module defines itself, in `__all__` or not, without names that begin with an underscore."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (isinstance(value, type) or inspect.isroutine(value))
    ]


def parameters(function: Any) -> list[tuple[str, str, object]]:
    """Name, kind and default of each parameter."""
    return [
        (parameter.name, parameter.kind.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    ]


def members(owner: type) -> list[str]:
    """The public attributes and special methods that a class and its bases in the same module define."""
    bases = (base for base in owner.__mro__ if base.__module__ == owner.__module__)
    names = dict.fromkeys(name for base in bases for name in vars(base))
    return [n for n in names if n in ("__init__", "__iter__") or not n.startswith(("_", "model_"))]


def test_every_public_name_is_there(oracle: Oracle) -> None:
    """Each class and function of openai-harmony is a public name here, in `__all__` too."""
    names = public_names(oracle.module)
    assert set(oracle.module.__all__) <= set(names)
    assert set(names) <= set(harmony.__all__)


def test_every_class_has_the_same_kind(oracle: Oracle) -> None:
    """Enums have the same members and values, models are models, HarmonyError is a RuntimeError."""
    for name in public_names(oracle.module):
        theirs, ours = getattr(oracle.module, name), getattr(harmony, name)
        if not isinstance(theirs, type):
            continue
        outside = [base for base in theirs.__mro__ if base.__module__ != oracle.module.__name__]
        assert all(issubclass(ours, base) for base in outside), name
        if issubclass(theirs, Enum):
            assert {m.name: m.value for m in theirs} == {m.name: m.value for m in ours}


OURS = ("type", "schema_profile")


def test_every_call_takes_the_same_arguments(oracle: Oracle) -> None:
    """Functions, methods and constructors have the same parameters, in order, with kinds and defaults.

    Beyond those, a model here has the keyword `type`, which tells the contents of a message apart, or
    `schema_profile`, which says how functions are written. The constructor of HarmonyEncoding takes an
    object that no program can make itself.
    """
    for name in public_names(oracle.module):
        theirs, ours = getattr(oracle.module, name), getattr(harmony, name)
        calls = {name: (theirs, ours)}
        if isinstance(theirs, type):
            calls = {f"{name}.{m}": (getattr(theirs, m), getattr(ours, m, None)) for m in members(theirs)}
            if hasattr(theirs, "model_fields"):
                calls[name] = (theirs, ours)
                fields = [field for field in ours.model_fields if field not in OURS]
                assert fields == [*theirs.model_fields]
        for call, (reference, own) in calls.items():
            assert (own is None) == (reference is None), call
            if callable(reference) and call != "HarmonyEncoding.__init__" and not isinstance(reference, Enum):
                taken = [taken for taken in parameters(own) if taken[0] not in OURS]
                assert taken == parameters(reference), call


def test_properties_and_static_methods_stay_what_they_are(oracle: Oracle) -> None:
    """What is read without a call, or called without an object, there is so here."""
    for name in public_names(oracle.module):
        theirs, ours = getattr(oracle.module, name), getattr(harmony, name)
        for member in members(theirs) if isinstance(theirs, type) else []:
            reference = inspect.getattr_static(theirs, member)
            if not isinstance(reference, Enum):
                assert type(inspect.getattr_static(ours, member)) is type(reference), f"{name}.{member}"


def output(program: str) -> str:
    """What a program prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "program", "exec"), {"__name__": "program"})
    return printed.getvalue()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("oracle")
def test_a_program_prints_the_same_under_both(path: Path) -> None:
    """With another import line, a program prints the same, character by character."""
    written = path.read_text(encoding="utf-8")
    changed = re.sub(r"\bopenai_harmony\b", "harmony", written)
    assert "openai_harmony" not in changed
    printed = output(written)
    assert printed.count("\n") > 5
    assert output(changed) == printed
