"""Recursion that does not end: subschemas that lead back to themselves, and values that never close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harmony.errors import SchemaError

if TYPE_CHECKING:
    from harmony.schemas.algebra import Mask
    from harmony.schemas.node import Node

_FOR_THE_SAME_VALUE: Final = frozenset(
    (
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"),
        *("$ref", "$dynamicRef", "$recursiveRef"),
    )
)


def refuse_loops(root: Node) -> None:
    """Raise `SchemaError` for a subschema that leads to itself for one and the same value.

    Nothing can tell whether it holds (JSON Schema 2020-12, section 9.4.1).
    """
    within: set[int] = set()
    left: set[int] = set()
    starts = [root]
    while starts:
        waiting = [(starts.pop(), False)]
        while waiting:
            node, is_done = waiting.pop()
            identity = id(node.schema)
            if is_done:
                within.discard(identity)
                left.add(identity)
            elif identity in within:
                message = f"{node.path} leads to itself for one and the same value; correct the schema."
                raise SchemaError(message, path=node.path)
            elif not isinstance(node.schema, bool) and identity not in left:
                within.add(identity)
                waiting.append((node, True))
                for keyword in node.keywords:
                    if keyword in _FOR_THE_SAME_VALUE:
                        waiting += [(part, False) for part in node.parts(keyword)]
                    else:
                        starts += node.parts(keyword)


def endless(definitions: dict[str, Mask]) -> set[str]:
    """The definitions of a mask whose values would have to hold one another without end."""
    ending: set[str] = set()
    while more := {name for name, mask in definitions.items() if name not in ending and _ends(mask, ending)}:
        ending |= more
    return definitions.keys() - ending


def _ends(mask: Mask, ending: set[str]) -> bool:
    """Whether a mask may have a value, if of all definitions only the `ending` ones have some."""
    if isinstance(mask, bool):
        return mask
    if "$ref" in mask and mask["$ref"].removeprefix("#/$defs/") not in ending:
        return False
    if not all(_ends(part, ending) for part in mask.get("allOf", ())):
        return False
    if "anyOf" in mask and not any(_ends(part, ending) for part in mask["anyOf"]):
        return False
    if mask.get("type") == "object":
        members = mask.get("properties", {})
        return all(_ends(members.get(name, True), ending) for name in mask.get("required", ()))
    if mask.get("type") == "array":
        places = [*mask.get("prefixItems", ()), mask.get("items", True)]
        return all(_ends(part, ending) for part in places[: mask.get("minItems", 0)])
    return True
