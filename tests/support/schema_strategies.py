"""Strategies for small schemas that use every keyword, and for small values that meet them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "ab")
DATES = ("2024-02-29", "2023-02-29")
STRINGS = ("", "a", "b", "ab", "ba", "aab", 'a"', "\\", "a\nb", "é", "1.2.3.4", *DATES)
PATTERNS = (
    "^a",
    "b$",
    "^[ab]*$",
    "a+b",
    '^[^"]*$',
    r"^[^\\b]+$",
    "^(?!a)",
    "^.$",
    r"\s",
    "a|^b",
    r"^\w{1,2}$",
)
FORMATS = ("date", "ipv4", "uuid", "regex", "no-such-format")
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
NUMBERS = (-1, 0, 0.5, 1, 1.5, 2, 3)

scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(STRINGS))


def values(inner: st.SearchStrategy[Any] = scalars) -> st.SearchStrategy[Any]:
    """JSON values that are small enough to meet the schemas often."""
    return st.recursive(
        inner,
        lambda below: st.one_of(
            st.lists(below, max_size=3), st.dictionaries(st.sampled_from(NAMES), below, max_size=3)
        ),
        max_leaves=5,
    )


def _counts(*keywords: str) -> dict[str, st.SearchStrategy[Any]]:
    return {keyword: st.integers(0, 3) for keyword in keywords}


def _keywords(below: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """What the value of each keyword may be."""
    names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
    several = st.lists(below, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(NAMES), below, max_size=3)
    bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    return {
        "type": st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, unique=True)),
        "const": values(),
        "enum": st.lists(values(), min_size=1, max_size=3),
        "multipleOf": st.sampled_from([0.5, 1, 2]),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(FORMATS),
        "required": names,
        "properties": named,
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), below, max_size=2),
        "additionalProperties": below,
        "propertyNames": below,
        "prefixItems": several,
        "items": below,
        "contains": below,
        "uniqueItems": st.booleans(),
        "dependentRequired": st.dictionaries(st.sampled_from(NAMES), names, max_size=2),
        "dependentSchemas": named,
        "dependencies": st.dictionaries(st.sampled_from(NAMES), st.one_of(names, below), max_size=2),
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": below,
        "if": below,
        "then": below,
        "else": below,
        "unevaluatedProperties": below,
        "unevaluatedItems": below,
        "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two", "#"]),
        **dict.fromkeys(bounds, st.sampled_from(NUMBERS)),
        **_counts("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        **_counts("minContains", "maxContains"),
    }


@st.composite
def _objects(draw: st.DrawFn, below: st.SearchStrategy[Any]) -> dict[str, Any]:
    keywords = _keywords(below)
    chosen = draw(st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True))
    return {keyword: draw(keywords[keyword]) for keyword in chosen}


def subschemas() -> st.SearchStrategy[Any]:
    """Schemas without definitions."""
    leaves = st.one_of(st.booleans(), _objects(st.booleans()))
    return st.recursive(leaves, _objects, max_leaves=4)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas of draft 2020-12 with every keyword that validates, references among them."""
    root = draw(_objects(subschemas()))
    defined = {name: draw(_objects(st.booleans())) for name in ("one", "two")}
    return root | {"$defs": defined}
