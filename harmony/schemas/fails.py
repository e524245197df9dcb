"""The rewrites of keywords that are to fail: each gives a mask for the values for which one does.

A keyword fails only for values of the types that it is about, so each mask names its type. As in `holds`, a
rewrite is exact or notes a residual; "some item" and "some property" have no exact mask, since the compiler
knows only what all of them are like.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import (
    ANY_TYPE,
    NUMBER,
    Mask,
    Types,
    all_of,
    any_of,
    of_type,
    type_of,
    types_named,
)
from harmony.schemas.formats import CHECKED_OUTSIDE, PATTERNS
from harmony.schemas.holds import FEW, Rewrite, is_flagged
from harmony.schemas.patterns import in_mask, none_of, unmatched
from harmony.schemas.values import are_countable, longest_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harmony.schemas.node import Node

_OBJECT: Final = frozenset(("object",))
_ARRAY: Final = frozenset(("array",))
_STRING: Final = frozenset(("string",))


def _only(node: Node, types: Types, mask: dict[str, Any]) -> Mask:
    """The values of some types, as far as they are possible, for which a mask holds."""
    named = of_type(node.types & types)
    return named and (mask if named is True else named | mask)


def _unknown(keyword: str, types: Types, mask: dict[str, Any]) -> Rewrite:
    """No exact mask is known; one for more values, and a residual."""

    def rewrite(node: Node, value: Any) -> Mask:
        if not node.types & types:
            return False
        node.miss(keyword)
        return _only(node, types, mask)

    return rewrite


def never(node: Node, value: Any) -> Mask:
    """The keyword constrains nothing by itself."""
    return False


def type_(node: Node, value: Any) -> Mask:
    """A value of another type; the compiler cannot name numbers that are no integers apart."""
    others = node.types - types_named(value)
    if "fraction" in others and "integer" not in others:
        node.miss("type")
    return of_type(others)


def const(node: Node, value: Any) -> Mask:
    """A value other than this one."""
    return enum(node, [value])


def enum(node: Node, value: Any) -> Mask:
    """A value other than all of these."""
    if all(map(are_countable, value)):
        return other_than(value, node.types)
    node.miss("enum")
    return True


def other_than(values: Sequence[Any], types: Types) -> Mask:
    """The values of some types that equal none of these, type by type."""
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(type_of(value), []).append(value)
    untouched = types - by_type.keys() - (NUMBER if NUMBER & by_type.keys() else frozenset())
    parts: list[Mask] = [of_type(untouched - {"null"} if None in by_type.get("null", ()) else untouched)]
    if "boolean" in types and "boolean" in by_type:
        parts += [{"const": choice} for choice in (False, True) if choice not in by_type["boolean"]]
    if types & NUMBER and NUMBER & by_type.keys():
        numbers = by_type.get("integer", []) + by_type.get("fraction", [])
        parts += _between(numbers, of_type(types & NUMBER))
    if "string" in types and "string" in by_type:
        parts.append({"type": "string", "pattern": in_mask(none_of(by_type["string"]))})
    if "array" in types and "array" in by_type:
        parts.append(all_of(map(_other_array, by_type["array"])))
    if "object" in types and "object" in by_type:
        parts.append(all_of(map(_other_object, by_type["object"])))
    return any_of(parts)


def _between(numbers: list[Any], number: Mask) -> Iterable[Mask]:
    """The numbers below, between and above some."""
    walls = [None, *sorted(set(numbers)), None]
    for low, high in pairwise(walls):
        yield all_of(
            (
                number,
                {} if low is None else {"exclusiveMinimum": low},
                {} if high is None else {"exclusiveMaximum": high},
            )
        )


def _other_array(array: list[Any]) -> Mask:
    """Arrays of another length, or with another item at some place."""
    length = len(array)
    parts: list[Mask] = [{"type": "array", "minItems": length + 1}]
    if array:
        parts.append({"type": "array", "maxItems": length - 1})
    for place, item in enumerate(array):
        prefix = [*[True] * place, other_than([item], ANY_TYPE)]
        parts.append({"type": "array", "minItems": length, "maxItems": length, "prefixItems": prefix})
    return any_of(parts)


def _other_object(members: dict[str, Any]) -> Mask:
    """Objects without some property, with another value of one, or with one property more."""
    required = {"type": "object", "required": list(members)}
    parts: list[Mask] = [
        required | {"properties": dict.fromkeys(members, True), "minProperties": len(members) + 1}
    ]
    for name, member in members.items():
        parts.append({"type": "object", "properties": {name: False}})
        other = {name: other_than([member], ANY_TYPE)}
        parts.append({"type": "object", "required": [name], "properties": other})
    return any_of(parts)


def bound(keyword: str) -> Rewrite:
    """A number on the other side of the bound, or on it if the bound is exclusive."""
    side = "Maximum" if keyword.lower().endswith("minimum") else "Minimum"

    def rewrite(node: Node, value: Any) -> Mask:
        if not node.types & NUMBER:
            return False
        if not are_countable(value):
            node.miss(keyword)
            return of_type(node.types & NUMBER)
        flagged = is_flagged(node, f"exclusive{keyword[0].upper()}{keyword[1:]}")
        is_exclusive = flagged or keyword.startswith("exclusive")
        opposite = side.lower() if is_exclusive else f"exclusive{side}"
        return _only(node, NUMBER, {opposite: value})

    return rewrite


def too_few(types: Types, most: str) -> Rewrite:
    """Less than the least; nothing is less than none."""
    return lambda node, value: value > 0 and _only(node, types, {most: int(value) - 1})


def too_many(types: Types, least: str) -> Rewrite:
    """More than the most."""
    return lambda node, value: _only(node, types, {least: int(value) + 1})


def max_properties(node: Node, value: Any) -> Mask:
    """More than the most; the compiler counts a repeated name twice, so only one can be asked for."""
    if value >= 1 and "object" in node.types:
        node.miss("maxProperties")
    return _only(node, _OBJECT, {"minProperties": int(value) + 1})


def format_(node: Node, value: Any) -> Mask:
    """An annotation never fails; what does not match a format has no mask."""
    if (value not in PATTERNS and value not in CHECKED_OUTSIDE) or "string" not in node.types:
        return False
    node.miss("format")
    return of_type(_STRING)


def pattern(node: Node, value: Any) -> Mask:
    """A string that is none of the few texts that match, or begins with none of them."""
    others = unmatched(value, FEW)
    if others is None:
        return _unknown("pattern", _STRING, {})(node, value)
    return _only(node, _STRING, {"pattern": in_mask(others)})


def required(node: Node, value: Any) -> Mask:
    """One of the properties is absent."""
    return any_of(_only(node, _OBJECT, {"properties": {name: False}}) for name in value)


def properties(node: Node, value: Any) -> Mask:
    """One of the properties is present and fails."""
    return any_of(
        _only(node, _OBJECT, {"required": [name], "properties": {name: failing}})
        for name, part in value.items()
        if "object" in node.types and (failing := node.inner(part).fails()) is not False
    )


def pattern_properties(node: Node, value: Any) -> Mask:
    """Some property of these names fails: no exact mask unless none can."""
    if "object" not in node.types or all(node.inner(part).fails() is False for part in value.values()):
        return False
    node.miss("patternProperties")
    return _only(node, _OBJECT, {"minProperties": 1})


def additional_properties(node: Node, value: Any) -> Mask:
    """Where none is allowed, all named ones are there and one more; `required` sees to these."""
    failing = node.inner(value).fails()
    if failing is False or "object" not in node.types:
        return False
    named = node.keywords.get("properties", {})
    all_are_required = named.keys() <= set(node.keywords.get("required", ()))
    if failing is True and all_are_required and not node.keywords.get("patternProperties"):
        present = {"properties": dict.fromkeys(named, True), "required": list(named)}
        return _only(node, _OBJECT, present | {"minProperties": len(named) + 1})
    node.miss("additionalProperties")
    return _only(node, _OBJECT, {"minProperties": 1})


def dependent_required(node: Node, value: Any) -> Mask:
    """A property is present and one that it requires is absent."""
    return any_of(
        _only(node, _OBJECT, {"required": [name], "properties": {needed: False}})
        for name, names in value.items()
        for needed in names
        if needed != name
    )


def dependent_schemas(node: Node, value: Any) -> Mask:
    """A property is present and its schema fails for the object."""
    if "object" not in node.types:
        return False
    inside = node.narrowed(_OBJECT)
    return any_of(
        all_of(({"type": "object", "required": [name]}, inside.beside(part).fails()))
        for name, part in value.items()
    )


def dependencies(node: Node, value: Any) -> Mask:
    """Lists of names are `dependentRequired`, schemas are `dependentSchemas`."""
    names = {name: part for name, part in value.items() if isinstance(part, list)}
    parts = {name: part for name, part in value.items() if not isinstance(part, list)}
    return any_of((dependent_required(node, names), dependent_schemas(node, parts)))


def prefix_items(node: Node, value: Any) -> Mask:
    """The item at one of the places is there and fails."""
    return any_of(_at(node, place, node.inner(part).fails()) for place, part in enumerate(value))


def _at(node: Node, place: int, mask: Mask) -> Mask:
    """Arrays with an item at a place for which a mask holds."""
    return mask and _only(node, _ARRAY, {"minItems": place + 1, "prefixItems": [*[True] * place, mask]})


def items(node: Node, value: Any) -> Mask:
    """Of a list, see `prefixItems`; else some item further on fails."""
    if isinstance(value, list):
        return prefix_items(node, value)
    return _further(node, value, len(node.keywords.get("prefixItems", ())), "items")


def additional_items(node: Node, value: Any) -> Mask:
    """As `items` since 2020-12, beside a list of `items`."""
    listed = node.keywords.get("items")
    return isinstance(listed, list) and _further(node, value, len(listed), "additionalItems")


def _further(node: Node, value: Any, start: int, keyword: str) -> Mask:
    """Some item from a place on fails: in a short array at one of the places, or any, if none is allowed."""
    failing = node.inner(value).fails()
    if failing is False or "array" not in node.types:
        return False
    if failing is True:
        return _only(node, _ARRAY, {"minItems": start + 1})
    longest = longest_array(node)
    if longest is not None and longest - start <= FEW:
        return any_of(_at(node, place, failing) for place in range(start, longest))
    node.miss(keyword)
    return _only(node, _ARRAY, {"minItems": start + 1})


def contains(node: Node, value: Any) -> Mask:
    """No item is like that: each fails."""
    if "minContains" in node.keywords or "maxContains" in node.keywords:
        node.miss("contains")
        return of_type(node.types & _ARRAY)
    return _only(node, _ARRAY, {"items": node.inner(value).fails()})


def unique_items(node: Node, value: Any) -> Mask:
    """Two items are equal: no exact mask."""
    if not value or "array" not in node.types:
        return False
    node.miss("uniqueItems")
    return _only(node, _ARRAY, {"minItems": 2})


def unevaluated(keyword: str, types: Types) -> Rewrite:
    """Some part that nothing else looks at fails: no exact mask unless none can."""
    unknown = _unknown(keyword, types, {})
    return lambda node, value: node.inner(value).fails() is not False and unknown(node, value)


def all_of_(node: Node, value: Any) -> Mask:
    """One of the schemas fails."""
    return any_of(node.beside(part).fails() for part in value)


def any_of_(node: Node, value: Any) -> Mask:
    """All of the schemas fail."""
    return all_of(node.beside(part).fails() for part in value)


def one_of(node: Node, value: Any) -> Mask:
    """All of the schemas fail, or two of them hold."""
    nodes = [node.beside(part) for part in value]
    if len(nodes) * (len(nodes) - 1) // 2 > FEW:
        return node.miss("oneOf")
    several = [all_of((first.holds(), second.holds())) for first, second in combinations(nodes, 2)]
    return any_of((all_of(part.fails() for part in nodes), *several))


def not_(node: Node, value: Any) -> Mask:
    """What is not to hold holds."""
    return node.beside(value).holds()


def if_(node: Node, value: Any) -> Mask:
    """`if` holds and `then` fails, or `if` fails and `else` fails."""
    condition = node.beside(value)
    then, otherwise = (node.beside(node.keywords.get(name, True)) for name in ("then", "else"))
    if then.schema is True and otherwise.schema is True:
        return False
    return any_of((all_of((condition.holds(), then.fails())), all_of((condition.fails(), otherwise.fails()))))


def ref(node: Node, value: Any) -> Mask:
    """The target fails."""
    target = node.target(value)
    if not isinstance(target.schema, bool) and not node.relaxation.document.path(target.schema):
        return node.miss("$ref")
    return target.fails()


FAILS: Final[dict[str, Rewrite]] = {
    "type": type_,
    "const": const,
    "enum": enum,
    "minimum": bound("minimum"),
    "maximum": bound("maximum"),
    "exclusiveMinimum": bound("exclusiveMinimum"),
    "exclusiveMaximum": bound("exclusiveMaximum"),
    "multipleOf": _unknown("multipleOf", NUMBER, {}),
    "minLength": too_few(_STRING, "maxLength"),
    "maxLength": too_many(_STRING, "minLength"),
    "pattern": pattern,
    "format": format_,
    "required": required,
    "properties": properties,
    "patternProperties": pattern_properties,
    "additionalProperties": additional_properties,
    "propertyNames": _unknown("propertyNames", _OBJECT, {"minProperties": 1}),
    "minProperties": too_few(_OBJECT, "maxProperties"),
    "maxProperties": max_properties,
    "dependencies": dependencies,
    "dependentRequired": dependent_required,
    "dependentSchemas": dependent_schemas,
    "minItems": too_few(_ARRAY, "maxItems"),
    "maxItems": too_many(_ARRAY, "minItems"),
    "prefixItems": prefix_items,
    "items": items,
    "additionalItems": additional_items,
    "contains": contains,
    "minContains": never,
    "maxContains": never,
    "uniqueItems": unique_items,
    "unevaluatedProperties": unevaluated("unevaluatedProperties", _OBJECT),
    "unevaluatedItems": unevaluated("unevaluatedItems", _ARRAY),
    "allOf": all_of_,
    "anyOf": any_of_,
    "oneOf": one_of,
    "not": not_,
    "if": if_,
    "then": never,
    "else": never,
    "$ref": ref,
    "$dynamicRef": _unknown("$dynamicRef", ANY_TYPE, {}),
    "$recursiveRef": _unknown("$recursiveRef", ANY_TYPE, {}),
}
"""The rewrite of every keyword."""
