"""JSON schemas become the TypeScript that openai-harmony 0.0.8 writes, faults included."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony.signatures import function_signature

if TYPE_CHECKING:
    from tests.conftest import Oracle

VECTORS = Path(__file__).with_name("vectors") / "tool_schema.jsonl"

words = st.sampled_from(["a", "b c", "null", "", 'q"t', "two\nlines", "//", "é", "integer"]) | st.text(
    max_size=5
)
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(0, 100, places=17).map(float),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
types = st.sampled_from(["object", "string", "number", "integer", "boolean", "array", "null", "any"])


def schemas_over(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas whose members are `inner` schemas, with every keyword also in shapes that make no sense."""
    properties = st.dictionaries(words, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | types | st.lists(types | st.just(1), max_size=3),
            "properties": properties | properties | values,
            "required": st.lists(words, max_size=3) | values,
            "title": words | values,
            "description": words | values,
            "examples": st.lists(values, max_size=3) | values,
            "enum": st.lists(words, max_size=3) | values,
            "default": values,
            "nullable": st.booleans() | values,
            "items": inner,
            "oneOf": st.lists(inner, max_size=3) | values,
        },
    )


schemas = st.recursive(schemas_over(values), schemas_over, max_leaves=8)


def developer_message(parameters: dict[str, Any] | None) -> harmony.Message:
    """A message that offers one function with these parameters."""
    tool = harmony.ToolDescription.new("f", "Does it.", parameters)
    content = harmony.DeveloperContent.new().with_function_tools([tool])
    return harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, content)


def test_recorded_schemas_render_as_recorded(encoding: harmony.HarmonyEncoding) -> None:
    """Every recorded schema gives the recorded text and tokens."""
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        tool = harmony.ToolDescription.new("f", "d", vector["parameters"])
        content = harmony.DeveloperContent.new().with_function_tools([tool])
        tokens = encoding.render(harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, content))
        assert encoding.decode(tokens) == vector["text"]
        assert tokens == vector["tokens"]


@given(schemas)
def test_any_schema_renders_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, schema: dict[str, Any]
) -> None:
    """Whatever the schema, sensible or not, the text is the oracle's."""
    message = developer_message({"type": "object", "properties": {"x": schema}} | schema)
    assert encoding.decode(encoding.render(message)) == oracle.encoding.decode(oracle.render_message(message))


@given(st.lists(numbers, min_size=1, max_size=20))
def test_default_numbers_are_rounded_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, defaults: list[float]
) -> None:
    """Ints and floats print with the oracle's digits, even where those are not the nearest."""
    message = developer_message(
        {"type": "object", "properties": {"x": {"type": "number", "default": defaults}}}
    )
    assert encoding.decode(encoding.render(message)) == oracle.encoding.decode(oracle.render_message(message))


def test_a_known_rounding_fault_is_reproduced() -> None:
    """1.998e26 prints as the neighbour that openai-harmony prints."""
    signature = function_signature("f", {"type": "object", "properties": {"x": {"default": 1.998e26}}})
    assert "default: 1.9979999999999997e26" in signature


def test_no_parameters_are_no_argument() -> None:
    """None gives a function without an argument, an empty schema one that takes anything."""
    assert function_signature("f", None) == "type f = () => any;"
    assert function_signature("f", {}) == "type f = (_: any) => any;"


def nested(depth: int) -> dict[str, Any]:
    """Arrays of arrays, `depth` deep."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_schemas_nest_as_deep_as_in_the_oracle() -> None:
    """A hundred levels are fine."""
    assert function_signature("f", nested(100)) == f"type f = (_: string{'[]' * 100}) => any;"


@pytest.mark.parametrize(
    "parameters",
    [
        {"default": math.nan},
        {"default": math.inf},
        {"default": object()},
        {"default": {1, 2}},
        nested(100_000),
    ],
    ids=["nan", "infinity", "object", "set", "too deep"],
)
def test_what_is_not_json_is_refused(parameters: dict[str, Any]) -> None:
    """Values without JSON, and nesting without end, raise RenderError and name the tool."""
    with pytest.raises(harmony.RenderError, match="'f'"):
        function_signature("f", parameters)
