"""JSON schemas as symbols: the JSON that a schema accepts, with properties in the order of the schema.

The symbols take more than the schema where a keyword is left out (bounds of numbers once they are begun,
`multipleOf`, `maxProperties`, keys that repeat, `not`); the shortest text that they propose heeds bounds.
"""

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote

from harmony.runtime.closing.numbers import number
from harmony.runtime.closing.regexes import found_in, whole_match
from harmony.runtime.closing.strings import in_quotes, string, string_besides
from harmony.runtime.closing.symbols import (
    NOTHING,
    Choice,
    Example,
    Repeat,
    Rule,
    Sequence,
    Symbol,
    Text,
    Unknown,
    chars,
)

Schema = Mapping[str, Any] | bool

_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_TYPES: Final = ("null", "boolean", "integer", "number", "string", "array", "object")
_ANY_SPACE: Final = Repeat(chars((32, 32), (9, 10), (13, 13)))
_NULL: Final = Text("null")
_BOOLEAN: Final = Choice((Text("true"), Text("false")))
_ANNOTATIONS: Final = frozenset(("title", "description", "default", "examples", "$comment", "x-guidance"))
_SILENT: Final = _ANNOTATIONS | {"$schema", "$defs", "definitions"}

_TIGHTER: Final = {"minimum": max, "minLength": max, "minItems": max, "maximum": min, "maxLength": min}


def json_of(schema: Schema) -> Symbol:
    """The JSON texts that a schema accepts."""
    return _Reader(schema).symbol(schema)


class _Reader:
    """Reads one schema document; each `$ref` becomes a rule, read once."""

    def __init__(self, document: Schema) -> None:
        self._document = document
        self._space = _space(document)
        self._marks: dict[str, Symbol] = {}
        self._rules: dict[str, Rule] = {}
        self._anything: Symbol | None = None

    def symbol(self, schema: Schema) -> Symbol:
        if isinstance(schema, bool):
            return self.anything() if schema else Choice(())
        if "$ref" in schema:
            return self._rule(schema)
        if "const" in schema:
            return self._literals([schema["const"]])
        if "enum" in schema:
            return self._literals(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                beside = _without(schema, key)
                return Choice(tuple(self.symbol(_both(beside, option)) for option in schema[key]))
        if "allOf" in schema:
            return self.symbol(reduce(_both, schema["allOf"], _without(schema, "allOf")))
        named = schema.get("type", _TYPES)
        names = [named] if isinstance(named, str) else named
        return Choice(tuple(self._of_type(name, schema) for name in names))

    def anything(self) -> Symbol:
        """Any JSON."""
        if self._anything is None:
            self._anything = rule = Rule("anything")
            rule.body = self.symbol({})
        return self._anything

    def _rule(self, schema: Mapping[str, Any]) -> Symbol:
        """What a reference and the keywords beside it accept, read once."""
        beside = {key: value for key, value in schema.items() if key not in ("$ref", *_SILENT)}
        name = json.dumps([schema["$ref"], beside])
        if name not in self._rules:
            self._rules[name] = rule = Rule(name)
            rule.body = self.symbol(_both(beside or True, self._resolved(schema["$ref"])))
        return self._rules[name]

    def _resolved(self, reference: str) -> Schema:
        """The schema that a reference within the document leads to; any other accepts everything here."""
        pointer = reference.removeprefix("#")
        if reference == pointer or (pointer and not pointer.startswith("/")):
            return True
        found: Any = self._document
        for part in unquote(pointer).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        schema: Schema = found
        return schema

    def _of_type(self, name: str, schema: Mapping[str, Any]) -> Symbol:
        match name:
            case "null":
                return _NULL
            case "boolean":
                return _BOOLEAN
            case "integer" | "number":
                return number(name, schema)
            case "string":
                return string(schema)
            case "array":
                return self._array(schema)
            case "object":
                return self._object(schema)
        return Unknown(f"type {name!r}")

    def _literals(self, values: list[Any]) -> Symbol:
        return Choice(tuple(self._literal(value) for value in values))

    def _array(self, schema: Mapping[str, Any]) -> Symbol:
        first = [self.symbol(part) for part in schema.get("prefixItems", ())]
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        rest = self.anything() if schema.get("items", {}) == {} else self.symbol(schema["items"])
        more = Repeat(
            Sequence((self._mark(","), rest)),
            max(0, least - max(1, len(first))),
            None if most is None else max(0, most - max(1, len(first))),
        )
        tail: Symbol = more
        for position in range(len(first) - 1, 0, -1):
            tail = Sequence((self._mark(","), first[position], tail))
            tail = tail if position < least else Choice((NOTHING, tail))
        filled = Sequence((first[0] if first else rest, tail))
        inside = filled if least else NOTHING if most == 0 else Choice((NOTHING, filled))
        return Sequence((Text("["), self._space, inside, self._space, Text("]")))

    def _object(self, schema: Mapping[str, Any]) -> Symbol:
        properties: dict[str, Schema] = dict(schema.get("properties", {}))
        required = list(schema.get("required", ()))
        others_allowed = schema.get("additionalProperties", True)
        for name in required:
            properties.setdefault(name, others_allowed)
        keys = [(in_quotes(found_in(p)), s) for p, s in schema.get("patternProperties", {}).items()]
        if others_allowed is not False:
            keys.insert(0, (string_besides(properties), others_allowed))
        least = schema.get("minProperties", 0)
        free = Choice(
            tuple(self._member(key, self.symbol(value)) for key, value in keys if value is not False)
        )
        names = list(properties)
        members = [self._member(_key(name), self.symbol(properties[name])) for name in names]
        # Two symbols for each place among the properties: before any member was written, and after.
        unwritten = max(0, least - len(required))
        later: Symbol = Repeat(Sequence((self._mark(","), free)))
        first: Symbol = Choice(
            (
                *([] if least else [NOTHING]),
                Sequence((free, Repeat(Sequence((self._mark(","), free)), max(0, unwritten - 1)))),
            )
        )
        for name, member in zip(reversed(names), reversed(members), strict=True):
            with_first, with_later = Sequence((member, later)), Sequence((self._mark(","), member, later))
            optional = name not in required
            first = Choice((first, with_first)) if optional else with_first
            later = Choice((later, with_later)) if optional else with_later
        return Sequence((Text("{"), self._space, first, self._space, Text("}")))

    def _member(self, key: Symbol, value: Symbol) -> Symbol:
        return Sequence((key, self._mark(":"), value))

    def _mark(self, mark: str) -> Symbol:
        if mark not in self._marks:
            self._marks[mark] = Sequence((self._space, Text(mark), self._space))
        return self._marks[mark]

    def _literal(self, value: object) -> Symbol:
        if isinstance(value, dict | list):
            return Example(self._loose(value), json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        return Text(_JSON.encode(value))

    def _loose(self, value: Any) -> Symbol:
        """A constant with white space where JSON has it."""
        if isinstance(value, dict):
            members = (self._member(_key(key), self._loose(part)) for key, part in value.items())
            return self._listed("{", members, "}")
        if isinstance(value, list):
            return self._listed("[", map(self._loose, value), "]")
        return self._literal(value)

    def _listed(self, opening: str, parts: Iterator[Symbol], closing: str) -> Symbol:
        separated = list(chain.from_iterable((self._mark(","), part) for part in parts))[1:]
        return Sequence((Text(opening), self._space, *separated, self._space, Text(closing)))


def _space(document: Schema) -> Symbol:
    """The white space that the compiler is told to allow between the parts of JSON."""
    told = {} if isinstance(document, bool) else document.get("x-guidance") or {}
    if told.get("whitespace_flexible") is False:
        return NOTHING
    pattern = told.get("whitespace_pattern")
    return _ANY_SPACE if pattern is None else Choice((NOTHING, whole_match(f"^(?:{pattern})$")))


def _key(name: str) -> Symbol:
    return Text(_JSON.encode(name))


def _without(schema: Mapping[str, Any], key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}


def _both(one: Schema, other: Schema) -> Schema:
    """A schema of what two schemas accept, as far as keywords can be joined."""
    if isinstance(one, bool) or isinstance(other, bool):
        return False if False in (one, other) else other if one is True else one
    joined = {**one, **other}
    if "properties" in one and "properties" in other:
        names = one["properties"] | other["properties"]
        joined["properties"] = {
            name: _both(one["properties"].get(name, True), other["properties"].get(name, True))
            for name in names
        }
    if "required" in one and "required" in other:
        joined["required"] = [*one["required"], *(n for n in other["required"] if n not in one["required"])]
    for key, choose in _TIGHTER.items():
        if key in one and key in other:
            joined[key] = choose(one[key], other[key])
    if "anyOf" in one and "anyOf" in other:
        joined["anyOf"] = [_both(a, b) for a in one["anyOf"] for b in other["anyOf"]]
    if "$ref" in one and "$ref" in other:
        joined = {**one, "allOf": [*one.get("allOf", ()), other]}
    return joined
