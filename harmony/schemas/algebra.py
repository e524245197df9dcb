"""Masks: the schemas that the grammar compiler takes, and how they combine.

A mask holds for at least the values that it stands for. Types are counted as atoms, with the numbers that
are integers apart from those that are not, so that what is left of `number` without `integer` has a name.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Schema = bool | dict[str, Any]
Mask = bool | dict[str, Any]
Types = frozenset[str]

ANY_TYPE: Final[Types] = frozenset(("null", "boolean", "integer", "fraction", "string", "array", "object"))
NUMBER: Final[Types] = frozenset(("integer", "fraction"))


def types_named(names: str | Sequence[str]) -> Types:
    """The atoms that the value of a keyword `type` allows."""
    if isinstance(names, str):
        return NUMBER if names == "number" else frozenset((names,))
    return frozenset[str]().union(*map(types_named, names))


def type_of(value: object) -> str:
    """The atom of a JSON value; a float without a fraction is an integer."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "integer" if value == value // 1 else "fraction"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def of_type(types: Types) -> Mask:
    """The values of some types; numbers that are no integers can only be named with those that are."""
    if types == ANY_TYPE:
        return True
    names = sorted(types - NUMBER)
    if "fraction" in types:
        names.append("number")
    elif "integer" in types:
        names.append("integer")
    return {"type": names[0] if len(names) == 1 else names} if names else False


def all_of(masks: Iterable[Mask]) -> Mask:
    """The values for which all masks hold."""
    parts = [mask for mask in masks if mask is not True and mask != {}]
    if any(mask is False for mask in parts):
        return False
    return {"allOf": parts} if len(parts) > 1 else parts[0] if parts else True


def any_of(masks: Iterable[Mask]) -> Mask:
    """The values for which one mask or more holds."""
    parts = [mask for mask in masks if mask is not False]
    if any(mask is True or mask == {} for mask in parts):
        return True
    return {"anyOf": parts} if len(parts) > 1 else parts[0] if parts else False


def breadth(mask: Mask) -> int:
    """How many alternatives the compiler makes of a mask, which multiplies out every conjunction."""
    if isinstance(mask, bool):
        return 1
    return prod(map(breadth, mask.get("allOf", ()))) * (sum(map(breadth, mask.get("anyOf", ()))) or 1)
