"""The keywords of JSON Schema: who knows them, what their values look like, where subschemas stand."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from harmony.errors import SchemaError
from harmony.schemas.algebra import ANY_TYPE, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jsonschema.protocols import Validator

Draft = type["Validator"]

DRAFTS: Final[dict[str, Draft]] = {
    "http://json-schema.org/draft-04/schema": Draft4Validator,
    "http://json-schema.org/draft-06/schema": Draft6Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}

NAMES: Final = {draft: name for name, draft in DRAFTS.items()}

_BEFORE_2019: Final = (Draft4Validator, Draft6Validator, Draft7Validator)

_COMPANIONS: Final = {"if": ("then", "else"), "contains": ("minContains", "maxContains")}
"""Keywords that mean something beside another one only."""

_SCHEMA: Final = (dict, bool)
_SCALAR: Final = (str, float, type(None))

_ONE: Final = frozenset(
    (
        *("not", "if", "then", "else", "contains", "propertyNames"),
        *("additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_MANY: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED: Final = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
_COUNTS: Final = frozenset(
    f"{end}{what}" for end in ("min", "max") for what in ("Contains", "Items", "Length", "Properties")
)
_NUMBERS: Final = frozenset(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"))
_TYPES: Final = ANY_TYPE - {"fraction"} | {"number"}
_TEXTS: Final = frozenset(("$dynamicRef", "$recursiveRef", "$ref", "format", "pattern"))


@cache
def known_keywords(draft: Draft) -> frozenset[str]:
    """The keywords that a draft validates with; `dependencies` in every draft, as authors use it."""
    known = {"dependencies", *draft.VALIDATORS}
    for keyword, companions in _COMPANIONS.items():
        if keyword in known and (keyword != "contains" or draft not in _BEFORE_2019):
            known.update(companions)
    return frozenset(known)


def ignores_siblings_of_ref(draft: Draft) -> bool:
    """Whether `$ref` hides all keywords beside it, as until draft 7."""
    return draft in _BEFORE_2019


def subschemas(keyword: str, value: Any) -> list[tuple[str, Schema]]:
    """The subschemas that a keyword holds, each with the rest of its JSON pointer."""
    if isinstance(value, _SCALAR):
        return []
    if keyword in _ONE or (keyword == "items" and not isinstance(value, list)):
        return [("", value)] if _is_schema(value) else []
    steps: Iterable[tuple[int | str, Any]]
    if (keyword in _MANY or keyword == "items") and isinstance(value, list):
        steps = enumerate(value)
    elif (keyword in _NAMED or keyword == "dependencies") and isinstance(value, dict):
        steps = value.items()
    else:
        return []
    return [(f"/{escaped(str(step))}", part) for step, part in steps if _is_schema(part)]


def escaped(name: str) -> str:
    """A step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def check_shape(keyword: str, value: Any, path: str, draft: Draft) -> None:
    """Raise `SchemaError` unless the value of a keyword looks as its draft wants it."""
    expected = _expectation(keyword, value, draft)
    if expected is not None:
        raise SchemaError(f"{path}/{keyword} is to be {expected}; correct the schema.", path=path)


def _expectation(keyword: str, value: Any, draft: Draft) -> str | None:
    """What the value should have been, or None if it is that."""
    if keyword == "type":
        names = value if isinstance(value, list) else [value]
        fits, expected = all(map(_is_type, names)), "a type or a list of types"
    elif keyword == "items" and isinstance(value, list):
        fits, expected = draft is not Draft202012Validator and _are_schemas(value), "a schema"
    elif keyword in _ONE or keyword == "items":
        fits, expected = _is_schema(value), "a schema"
    elif keyword in _MANY:
        fits, expected = isinstance(value, list) and _are_schemas(value), "a list of schemas"
    elif keyword in _NAMED:
        fits, expected = isinstance(value, dict) and _are_schemas(value.values()), "schemas by name"
    elif keyword == "dependencies":
        fits = isinstance(value, dict) and all(
            _is_schema(part) or _are_texts(part) for part in value.values()
        )
        expected = "schemas or lists of names, by name"
    elif keyword == "dependentRequired":
        fits, expected = (
            isinstance(value, dict) and all(map(_are_texts, value.values())),
            "lists of names, by name",
        )
    elif keyword in _COUNTS:
        fits, expected = _is_number(value) and value >= 0 and value % 1 == 0, "a whole number"
    elif keyword in ("exclusiveMinimum", "exclusiveMaximum") and draft is Draft4Validator:
        fits, expected = isinstance(value, bool), "true or false"
    elif keyword in _NUMBERS:
        fits, expected = _is_number(value) and (keyword != "multipleOf" or value > 0), "a number"
    elif keyword in _TEXTS:
        fits, expected = isinstance(value, str), "a text"
    elif keyword == "required":
        fits, expected = _are_texts(value), "a list of names"
    elif keyword == "enum":
        fits, expected = isinstance(value, list), "a list of values"
    elif keyword == "uniqueItems":
        fits, expected = isinstance(value, bool), "true or false"
    else:
        return None
    return None if fits else expected


def _is_type(name: Any) -> bool:
    return isinstance(name, str) and name in _TYPES


def _is_schema(value: Any) -> bool:
    return isinstance(value, _SCHEMA)


def _are_schemas(values: Iterable[Any]) -> bool:
    return all(map(_is_schema, values))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
