"""Each rewrite gives a mask, without residuals, that accepts what its keyword accepts."""

from __future__ import annotations

from typing import Any

import pytest
from llguidance import LLMatcher
from writing import BYTES, MaskWriter

from harmony.schemas import enforce

Case = tuple[dict[str, Any], list[Any], list[Any]]

OBJECTS: list[Case] = [
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}, 3], [{"a": 1}]),
    (
        {"dependentSchemas": {"a": {"properties": {"b": {"type": "integer"}}}}},
        [{"b": "x"}, {"a": 1, "b": 2}, "text"],
        [{"a": 1, "b": "x"}],
    ),
    (
        {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        [{"a": 1, "b": 1}, {"c": 1, "d": 1}, {"d": 1}],
        [{"a": 1}, {"c": 1}],
    ),
    ({"propertyNames": {"pattern": "^x"}}, [{}, {"xa": 1}, 5], [{"a": 1}]),
    ({"propertyNames": {"enum": ["a", "b"]}}, [{"a": 1, "b": 1}], [{"c": 1}]),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"propertyNames": {"not": {"enum": ["a"]}}}, [{"b": 1}, {"": 1}], [{"a": 1}]),
    ({"propertyNames": False}, [{}], [{"a": 1}]),
    (
        {"properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False, "minProperties": 2},
        [{"a": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}, []],
        [{"a": 1}, {}],
    ),
    (
        {"properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False, "maxProperties": 2},
        [{"a": 1, "c": 1}, {}],
        [{"a": 1, "b": 1, "c": 1}],
    ),
    (
        {
            "allOf": [{"properties": {"a": {"type": "integer"}}}],
            "properties": {"b": {}},
            "unevaluatedProperties": False,
        },
        [{"a": 1, "b": "x"}, {}],
        [{"a": "x"}, {"c": 1}],
    ),
    (
        {"additionalProperties": False, "allOf": [{}], "patternProperties": {"^a": {}}},
        [{"ab": 1}],
        [{"b": 1}],
    ),
]

NAMES: list[Case] = [
    (
        {
            "patternProperties": {"^[a-z]+$": {"type": "string"}, "^(id|no)$": {"minLength": 2}},
            "additionalProperties": False,
        },
        [{"id": "xy", "a": "x"}, {"a": "", "no": "xy"}, {}, 1],
        [{"id": "x"}, {"no": 12}, {"A": "x"}, {"a": 1}],
    ),
    (
        {"patternProperties": {"^(?!@@)[a-z@]+$": {"type": "string"}}, "additionalProperties": False},
        [{"a": ""}, {"@a@@": ""}, {"@": ""}],
        [{"@@": ""}, {"@@a": ""}, {"": ""}, {"A": ""}],
    ),
    (
        {"properties": {"a": {"minimum": 1}}, "patternProperties": {"^[ab]$": {"maximum": 2}}},
        [{"a": 2, "b": 0, "c": 9}],
        [{"a": 0}, {"a": 3}, {"b": 3}],
    ),
    (
        {
            "patternProperties": {"^[a-d]$": {}, "^a$": False},
            "additionalProperties": False,
            "minProperties": 2,
        },
        [{"b": 1, "d": 1}, {"b": 1, "c": 1, "d": 1}],
        [{"b": 1}, {"a": 1, "b": 1}, {"b": 1, "e": 1}],
    ),
    (
        {
            "properties": {"a": {}},
            "allOf": [{"patternProperties": {"^b$": {}}}],
            "unevaluatedProperties": False,
        },
        [{"a": 1, "b": 1}],
        [{"c": 1}],
    ),
    ({"not": {"pattern": "^(yes|no)$"}}, ["maybe", "", "yes!", "an"], ["yes", "no", 1]),
    ({"type": "string", "not": {"pattern": "^x-"}}, ["x", "", "-", "ax-"], ["x-", "x-y"]),
    (
        {
            "properties": {"type": {"type": "string"}, "parts": {}},
            "required": ["type"],
            "if": {"properties": {"type": {"pattern": "^tuple$"}}},
            "then": {"required": ["parts"]},
        },
        [{"type": "tuple", "parts": 1}, {"type": "tuples"}],
        [{"type": "tuple"}, {"type": "tuple", "part": 1}],
    ),
    ({"pattern": "^(?!ab|c)[a-d]+$"}, ["a", "acb", "dab", "ba"], ["ab", "abd", "c", "cb", "", "e"]),
    ({"pattern": "^(?!(?:ab|c)$)[a-d]*$"}, ["abd", "cb", "", "a"], ["ab", "c", "e"]),
]

ARRAYS: list[Case] = [
    ({"items": {"enum": [1, 2]}, "uniqueItems": True}, [[], [2, 1], "x"], [[1, 1], [1, 2, 1], [3]]),
    ({"maxItems": 1, "uniqueItems": True}, [[], [1]], [[1, 1]]),
    ({"contains": {"const": 1}, "maxItems": 3}, [[1], [0, 0, 1], {}], [[], [0, 0], [0, 0, 0, 1]]),
    ({"items": {"type": "integer"}, "contains": {"type": "integer"}}, [[1]], [[]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[], [2]], []),
    ({"prefixItems": [{"const": 1}], "unevaluatedItems": False}, [[], [1]], [[2], [1, 1]]),
    ({"items": [{"const": 1}], "additionalItems": {"const": 2}}, [[1, 2, 2]], [[2], [1, 1]]),
]

LOGIC: list[Case] = [
    ({"not": {"type": "string"}}, [1, None, {}], ["x"]),
    ({"not": {"enum": ["a", 1, None, True]}}, ["b", 2, False, 0.5, []], ["a", 1, None, True]),
    ({"not": {"const": [1]}}, [[], [2], [1, 1], 1], [[1]]),
    ({"not": {"const": {"a": 1}}}, [{}, {"a": 2}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"not": {"required": ["a"]}}, [{}, {"b": 1}], [{"a": 1}, {"a": None, "b": 1}, "a"]),
    ({"not": {"properties": {"a": {"type": "string"}}}}, [{"a": 1}], [{}, {"a": "x"}, 1]),
    ({"type": "integer", "not": {"minimum": 3}}, [2, -7], [3, 4]),
    ({"type": "number", "not": {"exclusiveMaximum": 2}}, [2, 2.5], [1, 1.5]),
    ({"type": "string", "not": {"minLength": 2}}, ["", "a"], ["ab"]),
    ({"type": "array", "not": {"maxItems": 1}}, [[1, 2]], [[], [1]]),
    ({"type": "array", "not": {"contains": {"const": 1}}}, [[], [2]], [[1], [2, 1]]),
    ({"not": {"not": {"type": "string"}}}, ["x"], [1]),
    ({"not": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, [1], ["x", None]),
    (
        {"type": "object", "not": {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        [{"a": 1}, {}],
        [{"a": 1, "b": 1}],
    ),
    (
        {
            "type": "object",
            "not": {"properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
        },
        [{}, {"a": 1, "b": 1}],
        [{"a": 1}],
    ),
    (
        {
            "properties": {"kind": {"enum": ["a", "b"]}},
            "required": ["kind"],
            "if": {"properties": {"kind": {"const": "a"}}},
            "then": {"required": ["x"]},
            "else": {"required": ["y"]},
        },
        [{"kind": "a", "x": 1}, {"kind": "b", "y": 1}],
        [{"kind": "a", "y": 1}, {"kind": "b", "x": 1}, {"kind": "a"}],
    ),
    ({"if": {"type": "string"}, "then": {"maxLength": 1}}, ["a", 7], ["ab"]),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, ["a", None], [1]),
    (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1, "c": 1}],
        [{}, {"a": 1, "b": 1}],
    ),
    ({"oneOf": [{"type": "string"}, {"maxLength": 1}]}, ["ab", 1, None], ["a"]),
    (
        {"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}]},
        ["a", "b"],
        ["c"],
    ),
    ({"anyOf": [{"const": 1}, False]}, [1], [2]),
]

REFERENCES: list[Case] = [
    (
        {"$ref": "#/$defs/list", "$defs": {"list": {"items": {"$ref": "#/$defs/list"}, "type": "array"}}},
        [[], [[], [[]]]],
        [1, [1]],
    ),
    (
        {"properties": {"x": {"$ref": "#/$defs/never"}}, "$defs": {"never": False}, "type": "object"},
        [{}, {"y": 1}],
        [{"x": 1}],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"s": {"type": "string"}},
            "properties": {"a": {"$ref": "#/definitions/s", "maxLength": 1}},
        },
        [{"a": "long"}],
        [{"a": 1}],
    ),
    ({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s", "maxLength": 1}, ["a"], ["ab", 1]),
    (
        {
            "$id": "https://example.com/root",
            "$defs": {"a": {"$id": "/a", "$defs": {"b": {"type": "null"}}, "$ref": "#/$defs/b"}, "b": True},
            "$ref": "/a",
        },
        [None],
        [1],
    ),
    ({"$dynamicRef": "#x", "$defs": {"x": {"$dynamicAnchor": "x", "type": "null"}}}, [None], [1]),
]

DRAFTS: list[Case] = [
    ({"minimum": 3, "exclusiveMinimum": True}, [4], [3]),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "const": 1, "type": "integer"}, [1, 2], ["x"]),
    ({"minLength": 2.0}, ["ab"], ["a"]),
    ({"format": "colour"}, ["anything", 1], []),
]


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"), [*OBJECTS, *NAMES, *ARRAYS, *LOGIC, *REFERENCES, *DRAFTS]
)
def test_a_rewrite_is_exact(schema: dict[str, Any], valid: list[Any], invalid: list[Any]) -> None:
    """The mask alone accepts the valid values and refuses the invalid ones."""
    enforced = enforce(schema, strict=True)
    writer = MaskWriter(enforced.mask)
    assert [value for value in valid if writer.text(value) is None] == []
    assert [value for value in invalid if writer.text(value) is not None] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {}}, "patternProperties": {"^a$": {}}, "additionalProperties": False},
        {"properties": {"a": {}}, "propertyNames": {"enum": ["a"]}},
        {"patternProperties": {"^[ab]$": {}}, "additionalProperties": False, "not": {"required": ["b"]}},
        {"allOf": [{"patternProperties": {"^a$": {}}}], "unevaluatedProperties": False},
    ],
)
def test_no_comma_leads_nowhere(schema: dict[str, Any]) -> None:
    """Where no name is left that a property may have, the object can only be closed."""
    mask = enforce({"type": "object", **schema}, strict=True).mask
    matcher = LLMatcher(BYTES, LLMatcher.grammar_from_json_schema(mask))
    begun = BYTES.tokenize_str('{"a":""')
    assert matcher.consume_tokens(begun)
    assert matcher.validate_tokens(BYTES.tokenize_str(",")) == 0
    assert matcher.validate_tokens(BYTES.tokenize_str("}")) == 1
