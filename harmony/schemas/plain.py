"""Schemas that say, as those of most tools do, no more than what the grammar compiler takes as it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.values import is_spellable

if TYPE_CHECKING:
    from harmony.schemas.algebra import Mask, Schema

_ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment")
)
_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EXCLUSIVE: Final = frozenset(("exclusiveMinimum", "exclusiveMaximum"))
_NUMERIC: Final = frozenset(("type", "minimum", "maximum")) | _EXCLUSIVE

_KEYWORDS: Final = {
    "object": frozenset(("type", "properties", "required", "additionalProperties")),
    "array": frozenset(("type", "items", "minItems", "maxItems")),
    "string": frozenset(("type", "minLength", "maxLength")),
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "boolean": frozenset(("type",)),
    "null": frozenset(("type",)),
}
"""Keywords, by type, that make no mask too hard for the compiler, and which it therefore need not see."""

_FARTHEST: Final = 10**6
"""The largest bound that is taken unseen."""


def plain_mask(schema: Schema) -> Mask | None:
    """The mask of a plain schema, which is itself without annotations; None for any other.

    It compiles and has a value. The rewrites would give the same, in more time.
    """
    if schema is True or not isinstance(schema, dict):
        return True if schema is True else None
    mask: dict[str, Any] = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if "enum" in mask:
        return mask if _is_choice(mask) else None
    if mask.keys() == {"anyOf"}:
        return _any_of(mask["anyOf"])
    kind = mask.get("type")
    if not isinstance(kind, str) or kind not in _KEYWORDS or not mask.keys() <= _KEYWORDS[kind]:
        return None
    if len(mask) == 1:
        return mask
    if kind == "object":
        return _object(mask)
    if not _is_span(mask):
        return None
    if "items" in mask:
        items = plain_mask(mask["items"])
        return None if items is None else mask | {"items": items}
    return mask


def _any_of(options: object) -> Mask | None:
    if not isinstance(options, list):
        return None
    masks = [plain_mask(option) for option in options]
    if not masks or not all(isinstance(mask, dict) for mask in masks):
        return None
    return {"anyOf": masks} if len(masks) > 1 else masks[0]


def _object(mask: dict[str, Any]) -> Mask | None:
    properties, required = mask.get("properties", {}), mask.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return None
    members = {name: plain_mask(part) for name, part in properties.items()}
    others = mask.get("additionalProperties", True)
    if not isinstance(others, bool) or not all(isinstance(name, str) for name in required):
        return None
    if None in members.values() or not (others or members.keys() >= set(required)):
        return None
    return mask | {"properties": members} if members else mask


def _is_choice(mask: dict[str, Any]) -> bool:
    """Whether a mask says no more than that a value is one of some texts, or null, true or false."""
    choices, kind = mask["enum"], mask.get("type", "string")
    return (
        mask.keys() <= {"type", "enum"}
        and isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, str | bool | None) and is_spellable(choice) for choice in choices)
        and ("type" not in mask or (kind == "string" and all(isinstance(choice, str) for choice in choices)))
    )


def _is_span(mask: dict[str, Any]) -> bool:
    """Whether the bounds in a mask are small whole numbers, and a number between them is left."""
    low = [mask[keyword] for keyword in _AT_LEAST if keyword in mask]
    high = [mask[keyword] for keyword in _AT_MOST if keyword in mask]
    least = 0 if mask["type"] in ("array", "string") else 1 - _FARTHEST
    if not all(type(bound) is int and least <= bound < _FARTHEST for bound in (*low, *high)):
        return False
    gap = 0 if mask.keys().isdisjoint(_EXCLUSIVE) else 2
    return not low or not high or max(low) + gap <= min(high)
