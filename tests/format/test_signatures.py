"""JSON schemas become the TypeScript that openai-harmony 0.0.8 writes, faults included."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from format_strategies import asking, numbers, odd_schemas, sensible_schemas
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony.signatures import function_signature

if TYPE_CHECKING:
    from tests.conftest import Oracle

VECTORS = Path(__file__).with_name("vectors") / "tool_schema.jsonl"


def test_recorded_schemas_render_as_recorded(encoding: harmony.HarmonyEncoding) -> None:
    """Every recorded schema gives the recorded text and tokens."""
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        tool = harmony.ToolDescription.new("f", "d", vector["parameters"])
        content = harmony.DeveloperContent.new().with_function_tools([tool])
        tokens = encoding.render(harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, content))
        assert encoding.decode(tokens) == vector["text"]
        assert tokens == vector["tokens"]


@given(sensible_schemas)
def test_a_sensible_schema_renders_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, schema: dict[str, Any]
) -> None:
    """The shapes that people write give the oracle's text: objects, arrays, choices, enums, notes."""
    message = asking(schema)
    assert encoding.decode(encoding.render(message)) == oracle.encoding.decode(oracle.render_message(message))


@given(odd_schemas)
def test_any_schema_renders_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, schema: dict[str, Any]
) -> None:
    """However odd the schema, the text is the oracle's."""
    message = asking({"type": "object", "properties": {"x": schema}} | schema)
    assert encoding.decode(encoding.render(message)) == oracle.encoding.decode(oracle.render_message(message))


@given(st.lists(numbers, min_size=1, max_size=20))
def test_default_numbers_are_rounded_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, defaults: list[float]
) -> None:
    """Ints and floats print with the oracle's digits, even where those are not the nearest."""
    message = asking({"type": "object", "properties": {"x": {"type": "number", "default": defaults}}})
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


@pytest.mark.parametrize("depth", [100, 119, 120, 127, 128, 129, 200])
def test_schemas_nest_deeper_than_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, depth: int
) -> None:
    """Up to where its JSON parser stops both give the same text, and beyond that ours goes on."""
    message = asking(nested(depth))
    rendered = encoding.decode(encoding.render(message))
    assert f"type f = (_: string{'[]' * depth}) => any;" in rendered
    if depth < 120:
        assert rendered == oracle.encoding.decode(oracle.render_message(message))
    else:
        with pytest.raises(ValueError, match="recursion limit"):
            oracle.render_message(message)


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
