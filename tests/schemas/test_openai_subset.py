"""Each rule of OpenAI's strict subset is checked, and the first breach is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from harmony.errors import SchemaError
from harmony.schemas import Breach, first_breach

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    """An object as the subset wants it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nested(levels: int) -> dict[str, Any]:
    """So many objects within objects, with arrays between them."""
    schema = closed()
    for _ in range(levels - 1):
        schema = closed(a={"type": "array", "items": schema})
    return schema


def choices(count: int, length: int = 1) -> dict[str, Any]:
    """An enum of so many texts of a length."""
    return {"type": "string", "enum": [f"{number:0{length}}"[:length] for number in range(count)]}


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a={"type": ["string", "null"], "format": "date"}, b={"anyOf": [TEXT, {"type": "null"}]}),
        closed(a={"$ref": "#"}, b={"const": 1}, c={"enum": ["x", 1]}),
        {**closed(a={"$ref": "#/$defs/b"}), "$defs": {"b": closed()}, "title": "T", "description": "D"},
        closed(a={"type": "array", "items": TEXT, "minItems": 1}, b={"type": "number", "multipleOf": 2}),
        closed(minLength=TEXT, allOf=TEXT),
        nested(10),
        closed(**{f"p{number}": TEXT for number in range(5_000)}),
        closed(a=choices(1_000, 15)),
        closed(a=choices(250, 400)),
        closed(**{"n" * 120_000: TEXT}),
    ],
)
def test_schemas_within_the_subset_have_no_breach(schema: dict[str, Any]) -> None:
    """All that is supported, up to the limits."""
    assert first_breach(schema) is None


@pytest.mark.parametrize(
    ("schema", "path", "rule"),
    [
        (TEXT, "#", "the root is to be of type object"),
        (True, "#", "the root is to be of type object"),
        ({**closed(), "anyOf": [closed()]}, "#", "no anyOf"),
        ({"type": "object"}, "#", "additionalProperties is to be false"),
        (closed(a={**closed(), "additionalProperties": TEXT}), "#/properties/a", "additionalProperties"),
        ({**closed(b=TEXT), "required": []}, "#", "required, b too"),
        ({**closed(), "$defs": {"x/y": {"type": "object"}}}, "#/$defs/x~1y", "additionalProperties"),
        (closed(a={"anyOf": [TEXT, {"type": ["null", "object"]}]}), "#/properties/a/anyOf/1", "additional"),
        (closed(a={}), "#/properties/a", "one of type"),
        (closed(a=True), "#/properties/a", "is to be an object"),
        (closed(a={"type": "string", "format": "uri"}), "#/properties/a", "format uri"),
        *(
            (closed(a={"type": "string", keyword: value}), "#/properties/a", f"{keyword} is not supported")
            for keyword, value in [
                ("allOf", [TEXT]),
                ("oneOf", [TEXT]),
                ("not", TEXT),
                ("if", TEXT),
                ("then", TEXT),
                ("else", TEXT),
                ("dependentRequired", {}),
                ("dependentSchemas", {}),
                ("minLength", 1),
                ("uniqueItems", True),
                ("patternProperties", {}),
            ]
        ),
        (nested(11), "#" + "/properties/a/items" * 10, "10 levels"),
        (closed(**{f"p{number}": TEXT for number in range(5_001)}), "#", "5000 properties"),
        (closed(a=choices(600), b=choices(401)), "#/properties/b", "1000 values"),
        (closed(a=choices(251, 60)), "#/properties/a", "more than 250 values"),
        (closed(**{"n" * 120_000: {"const": "c"}}), f"#/properties/{'n' * 120_000}", "120000 characters"),
    ],
)
def test_a_breach_names_its_place_and_rule(schema: Any, path: str, rule: str) -> None:
    """The path is the JSON pointer of the subschema concerned."""
    breach = first_breach(schema)
    assert isinstance(breach, Breach)
    assert breach.path == path
    assert rule in breach.rule


def test_the_first_breach_is_the_first_in_the_document() -> None:
    """An outer schema comes before those in it, and these in their order."""
    schema = closed(a=closed(b={"type": "object"}), c={"not": TEXT})
    assert first_breach(schema) == Breach(
        "#/properties/a/properties/b", "additionalProperties is to be false"
    )


def test_what_is_no_schema_is_refused() -> None:
    """It is an error, not a breach."""
    with pytest.raises(SchemaError):
        first_breach({"type": "text"})
