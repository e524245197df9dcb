"""The rewrites of keywords that are to hold: each gives a mask for one keyword of a node.

A rewrite is exact, it accepts just the values that the keyword accepts; where none is, it notes a residual
and accepts more. The sentence of each function says why that is so.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft4Validator

from harmony.schemas.algebra import ANY_TYPE, Mask, all_of, any_of, of_type, type_of
from harmony.schemas.formats import CHECKED_OUTSIDE, LONGEST, PATTERNS
from harmony.schemas.patterns import exactly, in_mask
from harmony.schemas.unevaluated import evaluated_items, evaluated_names
from harmony.schemas.values import (
    are_countable,
    arrangements,
    by_name,
    is_spellable,
    longest_array,
    names_pattern,
    possible_values,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from harmony.schemas.node import Node

Rewrite = Callable[["Node", Any], Mask]

FEW: Final = 24
"""The most alternatives that a rewrite writes out."""


def as_it_is(keyword: str) -> Rewrite:
    """The compiler enforces the keyword."""
    return lambda node, value: {keyword: value}


def nothing(node: Node, value: Any) -> Mask:
    """The keyword means something to another one only, which reads it."""
    return True


def count(keyword: str) -> Rewrite:
    """The compiler wants whole numbers as integers, and 2.0 is 2."""
    return lambda node, value: {keyword: int(value)}


def bound(keyword: str) -> Rewrite:
    """The compiler enforces bounds that float64 holds exactly; in draft 4 `exclusive…` is a flag."""
    exclusive = f"exclusive{keyword[0].upper()}{keyword[1:]}"

    def rewrite(node: Node, value: Any) -> Mask:
        if not are_countable(value):
            return node.miss(keyword)
        return {exclusive if is_flagged(node, exclusive) else keyword: value}

    return rewrite


def is_flagged(node: Node, exclusive: str) -> bool:
    """Whether draft 4 makes the bound of a node exclusive."""
    return (
        node.draft is Draft4Validator and isinstance(node.schema, dict) and node.schema.get(exclusive) is True
    )


def const(node: Node, value: Any) -> Mask:
    """The compiler enforces values whose numbers float64 holds exactly, and no rare control characters."""
    if not is_spellable(value):
        return False
    if are_countable(value):
        return {"const": value}
    node.miss("const")
    return of_type(frozenset((type_of(value),)))


def enum(node: Node, value: Any) -> Mask:
    """As `const`, for each value."""
    spellable = [choice for choice in value if is_spellable(choice)]
    if all(map(are_countable, spellable)):
        return bool(spellable) and {"enum": spellable}
    node.miss("enum")
    return of_type(frozenset(map(type_of, spellable)))


def pattern(node: Node, value: Any) -> Mask:
    """The portable form matches the same strings; what has none is left to the checker."""
    portable = in_mask(value)
    return node.miss("pattern") if portable is None else {"pattern": portable}


def format_(node: Node, value: Any) -> Mask:
    """A format that a regular expression states is that expression; other names are annotations."""
    if value in CHECKED_OUTSIDE:
        return node.miss("format")
    if value not in PATTERNS:
        return True
    expression = {"pattern": in_mask(exactly(PATTERNS[value]))}
    return expression | ({"maxLength": LONGEST[value]} if value in LONGEST else {})


def schemas(keyword: str) -> Rewrite:
    """A conjunction or disjunction of masks holds where that of the schemas does."""
    combine = all_of if keyword == "allOf" else any_of
    return lambda node, value: combine(node.beside(part).holds() for part in value)


def not_(node: Node, value: Any) -> Mask:
    """`not` holds where its schema fails."""
    return node.beside(value).fails()


def if_(node: Node, value: Any) -> Mask:
    """Either `if` and `then` hold, or `if` fails and `else` holds."""
    condition = node.beside(value)
    then, otherwise = (node.beside(node.keywords.get(name, True)) for name in ("then", "else"))
    if then.schema is True and otherwise.schema is True:
        return True
    return any_of((all_of((condition.holds(), then.holds())), all_of((condition.fails(), otherwise.holds()))))


def ref(node: Node, value: Any) -> Mask:
    """A reference holds where its target does; metaschemas are left to the checker."""
    target = node.target(value)
    if not isinstance(target.schema, bool) and not node.relaxation.document.path(target.schema):
        return node.miss("$ref")
    return node.relaxation.definition(target)


def dynamic_ref(keyword: str, anchor: str) -> Rewrite:
    """Without two anchors to choose from, a dynamic reference is a plain one."""

    def rewrite(node: Node, value: Any) -> Mask:
        objects = node.relaxation.document.objects
        anchors = sum(bool(part.get(anchor)) for part in objects)
        return node.miss(keyword) if anchors > 1 else ref(node, value)

    return rewrite


def properties(node: Node, value: Any) -> Mask:
    """Name by name, a mask holds where its schema does."""
    return {"properties": {name: node.inner(part).holds() for name, part in value.items()}}


def pattern_properties(node: Node, value: Any) -> Mask:
    """Pattern by pattern, a mask holds where its schema does; one that few names match stands for those.

    Patterns that match the same name would be refused by the compiler, which takes them beside a property;
    and where properties leave a pattern no name, it takes a comma after which nothing can come.
    """
    names, patterns = by_name(value)
    portable = {in_mask(name): node.inner(value[name]).holds() for name in patterns}
    if None in portable or len(portable) < len(patterns):
        return node.miss("patternProperties")
    if not names:
        return {"patternProperties": portable}
    own = node.keywords.get("properties", {}) if node.relaxation.sees(node, "properties") else {}
    members = {name: node.inner(part).holds() for name, part in own.items()}
    for name, matching in names.items():
        parts = [node.inner(value[pattern]).holds() for pattern in matching]
        members[name] = all_of((members.get(name, True), *parts))
    return {"properties": members} | ({"patternProperties": portable} if portable else {})


def additional_properties(node: Node, value: Any) -> Mask:
    """The compiler enforces it, provided that it sees the properties and patterns beside it."""
    if value is not True and not node.relaxation.sees(node, "properties", "patternProperties"):
        return node.miss("additionalProperties")
    return {"additionalProperties": node.inner(value).holds()}


def absent(name: str) -> Mask:
    """Objects without a property, and all that is no object."""
    return {"properties": {name: False}}


def dependent_required(node: Node, value: Any) -> Mask:
    """Each property is absent, or present with all that it requires."""
    return all_of(
        any_of((absent(name), {"required": [name, *needed]})) for name, needed in value.items() if needed
    )


def dependent_schemas(node: Node, value: Any) -> Mask:
    """Each property is absent, or present and its schema holds for the object."""
    return all_of(
        any_of((absent(name), all_of(({"required": [name]}, node.beside(part).holds()))))
        for name, part in value.items()
    )


def dependencies(node: Node, value: Any) -> Mask:
    """Lists of names are `dependentRequired`, schemas are `dependentSchemas`."""
    names = {name: part for name, part in value.items() if isinstance(part, list)}
    parts = {name: part for name, part in value.items() if not isinstance(part, list)}
    return all_of((dependent_required(node, names), dependent_schemas(node, parts)))


def property_names(node: Node, value: Any) -> Mask:
    """Where the names allowed are those that some patterns match, every other property is forbidden."""
    patterns = names_pattern(node.inner(value))
    if patterns is None:
        return node.miss("propertyNames")
    return all_of(_only_names([name]) for name in patterns)


def _only_names(patterns: Collection[str]) -> Mask:
    """Objects of whose properties each has a name that some pattern matches."""
    names, others = by_name(patterns)
    mask = {"properties": dict.fromkeys(names, True), "patternProperties": dict.fromkeys(others, True)}
    return {keyword: value for keyword, value in mask.items() if value} | {"additionalProperties": False}


def _closed(node: Node) -> tuple[list[str], list[str]] | None:
    """The required and the optional properties of a node that allows no others."""
    keywords = node.keywords
    names, others = by_name(keywords.get("patternProperties", {}))
    if keywords.get("additionalProperties") is not False or others:
        return None
    named = dict.fromkeys(names, True) | keywords.get("properties", {})
    required = keywords.get("required", [])
    optional = [name for name, part in named.items() if part is not False and name not in required]
    return list(dict.fromkeys(required)), optional


def min_properties(node: Node, value: Any) -> Mask:
    """Of a closed object, some choice of optional properties is there; others could repeat a name."""
    least = int(value)
    required = set(node.keywords.get("required", ()))
    if least <= max(1, len(required)):
        return {"minProperties": least} if least > len(required) else True
    if (closed := _closed(node)) is None:
        node.miss("minProperties")
        return {"minProperties": least}
    optional, more = closed[1], least - len(required)
    if comb(len(optional), more) > FEW:
        node.miss("minProperties")
        return {"minProperties": 1}
    if more > len(optional):
        return of_type(ANY_TYPE - {"object"})
    return any_of({"required": list(choice)} for choice in combinations(optional, more))


def max_properties(node: Node, value: Any) -> Mask:
    """Of a closed object, some choice of optional properties is absent; else the compiler counts all."""
    most = int(value)
    if (closed := _closed(node)) is None or most < len(closed[0]):
        return {"maxProperties": most}
    optional = closed[1]
    fewer = len(closed[0]) + len(optional) - most
    if fewer <= 0:
        return True
    if comb(len(optional), fewer) > FEW:
        return node.miss("maxProperties")
    return any_of({"properties": dict.fromkeys(choice, False)} for choice in combinations(optional, fewer))


def prefix_items(node: Node, value: Any) -> Mask:
    """Place by place, a mask holds where its schema does."""
    return {"prefixItems": [node.inner(part).holds() for part in value]}


def items(node: Node, value: Any) -> Mask:
    """A list of schemas is what `prefixItems` has been since 2020-12; one schema is for all other items."""
    if isinstance(value, list):
        return prefix_items(node, value)
    if value is not True and not node.relaxation.sees(node, "prefixItems"):
        return node.miss("items")
    return {"items": node.inner(value).holds()}


def additional_items(node: Node, value: Any) -> Mask:
    """Beside a list of `items` it is what `items` has been since 2020-12; else it means nothing."""
    if not isinstance(node.keywords.get("items"), list):
        return True
    if value is not True and not node.relaxation.sees(node, "items"):
        return node.miss("additionalItems")
    return {"items": node.inner(value).holds()}


def contains(node: Node, value: Any) -> Mask:
    """In a short array, the item is at one of the places; if it is like all items, any of them is one."""
    least = int(node.keywords.get("minContains", 1))
    if "maxContains" in node.keywords:
        node.miss("contains")
        return {"minItems": least}
    if least == 0:
        return True
    if node.keywords.get("items") == value and "prefixItems" not in node.keywords:
        return {"minItems": least}
    longest = longest_array(node)
    if longest == 0:
        return of_type(ANY_TYPE - {"array"})
    if least > 1 or longest is None or longest > FEW:
        node.miss("contains")
        return {"minItems": least}
    found = node.inner(value).holds()
    return any_of(
        {"prefixItems": [*[True] * place, found], "minItems": place + 1} for place in range(longest)
    )


def unique_items(node: Node, value: Any) -> Mask:
    """One item is unique; of few values, all arrays without repetition can be listed."""
    longest = longest_array(node)
    if not value or (longest is not None and longest < 2):
        return True
    item = node.keywords.get("items", True)
    alike = isinstance(item, dict) and "prefixItems" not in node.keywords
    choices = possible_values(node.inner(item)) if alike else None
    if choices is None:
        return node.miss("uniqueItems")
    listed = arrangements(choices, int(node.keywords.get("minItems", 0)), longest)
    if listed is None:
        node.miss("uniqueItems")
        return {"maxItems": len(choices)}
    return any_of((of_type(ANY_TYPE - {"array"}), bool(listed) and {"enum": listed}))


def unevaluated_properties(node: Node, value: Any) -> Mask:
    """Where the same properties are evaluated for every value, all others are additional."""
    if value is True:
        return True
    evaluated = evaluated_names(node)
    if evaluated is None:
        return node.miss("unevaluatedProperties")
    if evaluated.all:
        return True
    names, others = by_name(evaluated.patterns)
    patterns = [in_mask(name) for name in others]
    if None in patterns:
        return node.miss("unevaluatedProperties")
    return {
        "properties": dict.fromkeys((*evaluated.names, *names), True),
        "patternProperties": dict.fromkeys(patterns, True),
        "additionalProperties": node.inner(value).holds(),
    }


def unevaluated_items(node: Node, value: Any) -> Mask:
    """Where the same places are evaluated for every value, all others are further items."""
    if value is True:
        return True
    evaluated = evaluated_items(node)
    if evaluated is None:
        return node.miss("unevaluatedItems")
    if evaluated.all:
        return True
    return {"prefixItems": [True] * evaluated.count, "items": node.inner(value).holds()}


PLAIN: Final[dict[str, Rewrite]] = {
    "type": as_it_is("type"),
    "required": as_it_is("required"),
    "multipleOf": as_it_is("multipleOf"),
    "const": const,
    "enum": enum,
    "minimum": bound("minimum"),
    "maximum": bound("maximum"),
    "exclusiveMinimum": bound("exclusiveMinimum"),
    "exclusiveMaximum": bound("exclusiveMaximum"),
    "minLength": count("minLength"),
    "maxLength": count("maxLength"),
    "pattern": pattern,
    "properties": properties,
    "patternProperties": pattern_properties,
    "additionalProperties": additional_properties,
    "minItems": count("minItems"),
    "maxItems": count("maxItems"),
    "prefixItems": prefix_items,
    "items": items,
    "additionalItems": additional_items,
}
"""Keywords whose masks can stand side by side in one object."""

HOLDS: Final[dict[str, Rewrite]] = PLAIN | {
    "allOf": schemas("allOf"),
    "anyOf": schemas("anyOf"),
    "not": not_,
    "if": if_,
    "then": nothing,
    "else": nothing,
    "$ref": ref,
    "$dynamicRef": dynamic_ref("$dynamicRef", "$dynamicAnchor"),
    "$recursiveRef": dynamic_ref("$recursiveRef", "$recursiveAnchor"),
    "format": format_,
    "dependencies": dependencies,
    "dependentRequired": dependent_required,
    "dependentSchemas": dependent_schemas,
    "propertyNames": property_names,
    "minProperties": min_properties,
    "maxProperties": max_properties,
    "contains": contains,
    "minContains": nothing,
    "maxContains": nothing,
    "uniqueItems": unique_items,
    "unevaluatedProperties": unevaluated_properties,
    "unevaluatedItems": unevaluated_items,
}
"""The rewrite of every keyword but `oneOf`, which needs to see its siblings."""
