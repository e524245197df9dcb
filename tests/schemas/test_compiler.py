"""Schemas that are taken as they are, without rewriting and asking the compiler, are ones that it takes."""

from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.schemas import enforce
from harmony.schemas.compiler import OPTIONS
from harmony.schemas.document import Document
from harmony.schemas.plain import plain_mask
from harmony.schemas.relaxation import Relaxation

names = st.text(max_size=3)


def _objects(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required, others: {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": others,
        },
        st.dictionaries(names, below, max_size=4),
        st.lists(names, max_size=3),
        st.booleans(),
    )


def _bounded(kind: str, *keywords: str, least: int = 0) -> st.SearchStrategy[Any]:
    """A type with some of the keywords that bound it, at bounds near each other and far away."""
    bounds = st.integers(least, 3) | st.sampled_from([-least, 10**6 - 1, 0.5, 10**20])
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=dict.fromkeys(keywords, bounds))


_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
masks = st.recursive(
    st.sampled_from([True, False])
    | st.sampled_from(["boolean", "null"]).map(lambda name: {"type": name})
    | _bounded("integer", *_NUMERIC, least=-(10**6) + 1)
    | _bounded("number", *_NUMERIC, least=-3)
    | _bounded("string", "minLength", "maxLength")
    | st.lists(st.text(max_size=3), min_size=1, max_size=4).map(
        lambda texts: {"type": "string", "enum": texts}
    )
    | st.lists(st.text(max_size=3) | st.none() | st.booleans(), max_size=4).map(
        lambda choices: {"enum": choices}
    ),
    lambda below: (
        _objects(below)
        | below.map(lambda items: {"type": "array", "items": items})
        | st.builds(dict.__or__, _bounded("array", "minItems", "maxItems"), below.map(lambda i: {"items": i}))
        | st.lists(below, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})
    ),
    max_leaves=12,
)


notes = st.dictionaries(st.sampled_from(["title", "description", "default", "examples"]), st.text(max_size=3))
schemas = st.builds(
    lambda schema, added: schema if isinstance(schema, bool) else added | schema, masks, notes
)
nonsense = st.recursive(
    st.sampled_from([None, True, 3, -1, 0.5, "a", "string", "object", "\x01"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "enum", "anyOf", "properties", "required", "items", "minItems", "minLength"]
            ),
            below,
        )
    ),
)


@given(schemas)
def test_plain_masks_compile(schema: Any) -> None:
    """Whatever is plain has a value, and no complaint."""
    mask = plain_mask(schema)
    if isinstance(mask, dict):
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps({**mask, "x-guidance": OPTIONS}))
        assert llguidance.LLMatcher.validate_grammar(grammar) == ""


@given(schemas | nonsense)
def test_rewriting_what_is_plain_gives_the_same(schema: Any) -> None:
    """The same mask, and nothing is left to a veto; what is no schema is not plain."""
    if (mask := plain_mask(schema)) is not None:
        relaxation = Relaxation(Document(json.dumps(schema)))
        assert relaxation.root.holds() == mask
        assert not relaxation.residuals
        assert mask is True or json.loads(enforce(schema).mask) == mask | {"x-guidance": OPTIONS}


def test_what_a_schema_says_to_people_is_left_out() -> None:
    """Of the whole and of its parts, whatever the names of the properties."""
    schema = {"type": "object", "title": "T", "properties": {"title": {"type": "null", "description": "D"}}}
    assert plain_mask(schema) == {"type": "object", "properties": {"title": {"type": "null"}}}


@pytest.mark.parametrize(
    "mask",
    [
        {"type": "integer", "minimum": 1, "maximum": 14},
        {"enum": ["c", "f", None]},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
    ],
)
def test_masks_of_tools_are_plain(mask: Any) -> None:
    """What tools ask of their arguments needs no question to the compiler."""
    assert plain_mask(mask) == mask


@pytest.mark.parametrize(
    "mask",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"enum": []},
        {"type": "number", "minimum": 10**300},
        {"type": "string", "enum": ["a"], "maxLength": 0},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"enum": ["\x01"]}}},
        {"type": "integer", "minimum": True},
        {"type": "array", "minItems": -1},
        {"type": "object", "required": "a"},
    ],
)
def test_masks_that_may_have_no_value_are_not_plain(mask: Any) -> None:
    """What bounds may leave empty, is beyond the compiler, or is no schema, is asked about."""
    assert plain_mask(mask) is None
