"""Mask and veto together accept what jsonschema accepts, and every keyword left to the veto is named."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.validators import extend
from referencing import Registry
from schema_strategies import schemas, values
from writing import Exhausted, MaskWriter

from harmony.errors import SchemaError, SchemaUnsupportedError
from harmony.schemas import EnforcedSchema, enforce
from harmony.schemas.checker import formats
from harmony.schemas.document import Document
from harmony.schemas.node import Residual
from harmony.schemas.relaxation import Relaxation

ORACLE = extend(Draft202012Validator, {"dependencies": Draft7Validator.VALIDATORS["dependencies"]})


def accepts(enforced: EnforcedSchema, writer: MaskWriter, value: Any) -> bool:
    """Whether a value can be written under the mask without an objection of the veto."""
    text = writer.text(value)
    if text is None:
        return False
    veto = enforced.veto()
    return all(veto.advance(text[place : place + 3]) is None for place in range(0, len(text), 3)) and (
        veto.finish() is None
    )


def enforced_or_refused(schema: dict[str, Any]) -> tuple[EnforcedSchema | None, str]:
    """The schema enforced, or what is said against it."""
    try:
        return enforce(schema), ""
    except SchemaError as refusal:
        return None, str(refusal)


@settings(max_examples=200)
@given(schemas(), st.lists(values(), min_size=3, max_size=6))
def test_what_may_be_written_is_what_is_valid(schema: dict[str, Any], candidates: list[Any]) -> None:
    """For random schemas and values, mask and veto agree with jsonschema, and so does a refusal."""
    oracle = ORACLE(schema, registry=Registry(), format_checker=formats())
    enforced, refusal = enforced_or_refused(schema)
    assume("leads to itself" not in refusal)
    valid = [oracle.is_valid(value) for value in candidates]
    if enforced is None:
        assert "No value satisfies" in refusal
        assert not any(valid)
        return
    writer = MaskWriter(enforced.mask)
    try:
        assert [accepts(enforced, writer, value) for value in candidates] == valid
    except Exhausted:
        assume(False)


@pytest.mark.parametrize(
    ("schema", "path", "keyword"),
    [
        ({"properties": {"a": {"uniqueItems": True}}}, "#/properties/a", "uniqueItems"),
        ({"$defs": {"p": {"pattern": "^(?!a)"}}, "$ref": "#/$defs/p"}, "#/$defs/p", "pattern"),
        ({"not": {"pattern": "a"}}, "#/not", "pattern"),
        ({"patternProperties": {"^a": {}, "b$": {}}}, "#", "patternProperties"),
        ({"const": 2**53 + 1}, "#", "const"),
        ({"type": "object", "minProperties": 2}, "#", "minProperties"),
        ({"contains": {"const": 1}}, "#", "contains"),
        ({"format": "regex"}, "#", "format"),
        ({"properties": {"a/b": {"multipleOf": 1e-300}}}, "#/properties/a~1b", "multipleOf"),
    ],
)
def test_what_the_mask_lacks_is_named(schema: dict[str, Any], path: str, keyword: str) -> None:
    """A residual says where it stands; strict enforcement refuses it with path and keyword."""
    assert [(residual.path, residual.keyword) for residual in enforce(schema).residuals] == [(path, keyword)]
    with pytest.raises(SchemaUnsupportedError, match=keyword) as refusal:
        enforce(schema, strict=True)
    assert (refusal.value.path, refusal.value.keyword) == (path, keyword)
    again = pickle.loads(pickle.dumps(refusal.value))
    assert (str(again), again.path, again.keyword) == (str(refusal.value), path, keyword)


@pytest.mark.parametrize(
    ("schema", "writable"),
    [
        (
            {
                "oneOf": [
                    {"required": ["a"], "properties": {"a": {"items": {"pattern": "^(x|y)+$"}}}},
                    {"required": ["b"], "properties": {"b": {"items": {"required": ["c"]}}}},
                ]
            },
            [{"a": 1}, {"b": 1}],
        ),
        ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]}, [5, 3]),
        (
            {
                "oneOf": [
                    {
                        "oneOf": [
                            {"enum": [f"a{n}" for n in range(60)]},
                            {"enum": [f"b{n}" for n in range(60)]},
                        ]
                    },
                    {"type": "string", "enum": [f"c{n}" for n in range(60)]},
                ]
            },
            ["a1", "b1"],
        ),
    ],
)
def test_the_veto_is_left_no_type_that_never_fits(schema: dict[str, Any], writable: list[Any]) -> None:
    """A `oneOf` that the mask does not enforce still bars the types with which it cannot be satisfied."""
    enforced = enforce(schema)
    writer = MaskWriter(enforced.mask)
    tried = [None, True, 5, 3, "a1", "b1", [], {"a": 1}, {"b": 1}]
    assert enforced.residuals
    assert [value for value in tried if writer.text(value) is not None] == writable


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "format": "date-time"}, '"2016-12-31T23:59:60Z"'),
        ({"type": "string", "format": "date-time"}, '"2023-01-01T10:30:60Z"'),
        ({"type": "string", "format": "date-time"}, '"2023-01-01t10:30:00z"'),
        ({"type": "string", "format": "time"}, '"10:30:60Z"'),
        ({"type": "string", "format": "date"}, '"2023-02-29"'),
        ({"type": "string", "pattern": '^[^"]*$'}, r'"\""'),
        ({"type": "string", "pattern": r"^[^\\]*$"}, r'"\\"'),
        ({"type": "string", "pattern": r"^[\x00-\x1f]$"}, r'"\""'),
        ({"properties": {"a": {"type": "integer"}}}, r'{"\u0061":"x"}'),
        ({"patternProperties": {"^a": {"type": "integer"}}}, r'{"\u0061b":"x"}'),
    ],
)
def test_traps_of_the_compiler_are_closed(schema: dict[str, Any], text: str) -> None:
    """Texts that llguidance 1.9.1 accepts under the schema as it is, though they break it."""
    assert not MaskWriter(enforce(schema, strict=True).mask).accepts_text(text)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "text"}, "#/type"),
        ({"properties": {"a": {"minLength": -1}}}, "#/properties/a/minLength"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"required": "a"}}}, "#/\\$defs/x/required"),
        ({"enum": [float("nan")]}, "not plain JSON"),
        (False, "No value satisfies"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "No value satisfies"),
        ([], "neither an object nor a boolean"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, said: str) -> None:
    """The error names the path of what is wrong."""
    with pytest.raises(SchemaError, match=said):
        enforce(schema)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"$schema": "https://example.com/mine"}, "$schema"),
        ({"$ref": "https://example.com/other"}, "$ref"),
        ({"$ref": "#/$defs/missing"}, "$ref"),
        ({"type": "string", "pattern": "("}, "pattern"),
    ],
)
def test_what_cannot_be_checked_is_refused(schema: dict[str, Any], keyword: str) -> None:
    """Neither a foreign dialect nor a reference that leads out of the schema is guessed at."""
    with pytest.raises(SchemaUnsupportedError) as refusal:
        enforce(schema)
    assert refusal.value.keyword == keyword


def test_a_schema_that_is_too_deep_is_refused() -> None:
    """Nesting beyond what can be read is an error, not a crash."""
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"properties": {"a": schema}}
    with pytest.raises(SchemaError, match="nested too deeply"):
        enforce(schema)


def test_a_metaschema_is_checked_by_the_veto() -> None:
    """A reference to a draft's own schema needs no network."""
    enforced = enforce({"$ref": "https://json-schema.org/draft/2020-12/schema"})
    writer = MaskWriter(enforced.mask)
    assert accepts(enforced, writer, {"type": "string"})
    assert not accepts(enforced, writer, {"type": 1})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "#"}, "#"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "#/$defs/a"),
        ({"properties": {"x": {"not": {"$ref": "#/properties/x"}}}}, "#/properties/x"),
    ],
)
def test_a_schema_that_leads_to_itself_is_refused(schema: dict[str, Any], path: str) -> None:
    """Nothing could tell whether a value fits."""
    with pytest.raises(SchemaError, match="leads to itself") as refusal:
        enforce(schema)
    assert refusal.value.path == path


def test_a_value_without_end_is_never_begun() -> None:
    """A list that must always go on has no value; where there is a choice, it is none."""
    chain = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/chain"}}}
    with pytest.raises(SchemaError, match="No value satisfies"):
        enforce({"$ref": "#/$defs/chain", "$defs": {"chain": chain}})
    either = {"anyOf": [{"$ref": "#/$defs/chain"}, {"type": "null"}], "$defs": {"chain": chain}}
    writer = MaskWriter(enforce(either, strict=True).mask)
    assert writer.accepts_text("null")
    assert not writer.accepts_prefix("{")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("$ref", "#/$defs/a"),
        ("allOf", [{"$ref": "#/$defs/a"}, True]),
        ("anyOf", [{"$ref": "#/$defs/a"}, {"type": "object", "minProperties": 1}]),
    ],
)
def test_what_the_mask_leaves_out_keeps_its_types(keyword: str, value: Any) -> None:
    """Where the compiler refuses a keyword, values of types that cannot satisfy it stay out of the mask."""
    schema = {"properties": {"x": {keyword: value}}, "$defs": {"a": {"type": ["object", "null"]}}}
    relaxation = Relaxation(Document(json.dumps(schema)), {Residual("#/properties/x", keyword)})
    assert {*relaxation.mask()["properties"]["x"]["type"]} == {"object", "null"}
