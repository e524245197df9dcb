"""Which properties and items a schema evaluates, where that is the same for every value.

JSON Schema 2020-12, section 11: what `unevaluatedProperties` and `unevaluatedItems` speak of is what no
other keyword beside or below them, for the same value, has looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harmony.schemas.node import Node

_DEEPEST: Final = 32
"""The most references in references that are followed."""

_DEPENDING_ONE: Final = frozenset(("if", "then", "else"))
_DEPENDING: Final = _DEPENDING_ONE | {"anyOf", "oneOf", "dependentSchemas", "dependencies"}
_ELSEWHERE: Final = frozenset(("$dynamicRef", "$recursiveRef"))


@dataclass(frozen=True, slots=True)
class EvaluatedNames:
    """The properties that are evaluated: those of these names and patterns, or all."""

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    all: bool = False


@dataclass(frozen=True, slots=True)
class EvaluatedItems:
    """The items that are evaluated: so many from the first on, or all."""

    count: int = 0
    all: bool = False


def evaluated_names(node: Node) -> EvaluatedNames | None:
    """The properties that are evaluated beside a node's `unevaluatedProperties`, or None if it depends."""
    looking = frozenset(("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"))
    found = _found(node, looking, "unevaluatedProperties")
    if found is None:
        return None
    return EvaluatedNames(
        names=tuple(name for keyword, value in found if keyword == "properties" for name in value),
        patterns=tuple(name for keyword, value in found if keyword == "patternProperties" for name in value),
        all=any(keyword in ("additionalProperties", "unevaluatedProperties") for keyword, _ in found),
    )


def evaluated_items(node: Node) -> EvaluatedItems | None:
    """The items that are evaluated beside a node's `unevaluatedItems`, or None if it depends."""
    looking = frozenset(("prefixItems", "items", "additionalItems", "unevaluatedItems", "contains"))
    found = _found(node, looking, "unevaluatedItems")
    if found is None or any(keyword == "contains" for keyword, _ in found):
        return None
    lists = [value for _, value in found if isinstance(value, list)]
    return EvaluatedItems(max(map(len, lists), default=0), all=len(lists) < len(found))


def _found(
    node: Node, looking: frozenset[str], asking: str = "", depth: int = 0
) -> list[tuple[str, Any]] | None:
    """The keywords that look at properties or items of every value, or None if for some values only."""
    if depth > _DEEPEST:
        return None
    found: list[tuple[str, Any]] = []
    for keyword, value in node.keywords.items():
        if keyword in looking and keyword != asking:
            if keyword != "additionalItems" or isinstance(node.keywords.get("items"), list):
                found.append((keyword, value))
        elif keyword in _DEPENDING:
            parts = (
                [value] if keyword in _DEPENDING_ONE else value.values() if isinstance(value, dict) else value
            )
            inner = [
                _found(node.beside(part), looking, depth=depth + 1) for part in parts if _is_schema(part)
            ]
            if any(part != [] for part in inner):
                return None
        elif keyword in ("allOf", "$ref"):
            nodes = [node.target(value)] if keyword == "$ref" else map(node.beside, value)
            for below in nodes:
                deeper = _found(below, looking, depth=depth + 1)
                if deeper is None:
                    return None
                found += deeper
        elif keyword in _ELSEWHERE:
            return None
    return found


def _is_schema(part: Any) -> bool:
    return isinstance(part, dict | bool)
