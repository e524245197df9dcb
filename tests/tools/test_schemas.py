"""What a schema looks like in the prompt once it is simplified."""

from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from harmony.signatures import function_signature
from harmony.tools.schemas import simplify


class Point(BaseModel):
    x: int
    title: str = Field("p", title="Its Title")


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def simple(hint: Any, **extra: Any) -> Any:
    """The simplified schema of one property."""
    schema = TypeAdapter(hint).json_schema()
    definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    return simplify({"type": "object", "properties": {"a": schema | extra}, **definitions})["properties"]["a"]


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int, {"type": "integer"}),
        (int | str, {"type": ["integer", "string"]}),
        (int | None, {"type": ["integer", "null"]}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal["a", "b"] | None, {"type": "string", "enum": ["a", "b"], "nullable": True}),
        (list[int | None], {"type": "array", "items": {"type": ["integer", "null"]}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
)
def test_unions_and_constants(hint: Any, schema: dict[str, Any]) -> None:
    """They take the forms that the signature renders."""
    assert simple(hint) == schema


@pytest.mark.parametrize("hint", [Optional[int], Literal["a"] | None, Point | None, list[int] | None])  # noqa: UP045
def test_optional_with_none_is_just_optional(hint: Any) -> None:
    """A property that may be left out as None shows no null and no default."""
    shown = simple(hint, default=None)
    assert "null" not in str(shown)
    assert "default" not in shown


def test_models_are_written_out() -> None:
    """A nested model stands where it is used, without pydantic's titles, but with a property named title."""
    assert simple(Point) == {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "title": {"type": "string", "default": "p"}},
        "required": ["x"],
    }


def test_a_type_that_contains_itself_keeps_its_reference() -> None:
    """Recursion is written out once and then refers to a definition that is there."""
    schema = simplify(Tree.model_json_schema())
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_tagged_union_is_a_choice() -> None:
    """Alternatives of models become oneOf, which the signature renders."""
    shown = simple(Annotated[Cat | Dog, Field(discriminator="kind")])
    assert [variant["properties"]["kind"]["enum"] for variant in shown["oneOf"]] == [["cat"], ["dog"]]
    assert "discriminator" not in shown


def test_the_signature_says_it_all() -> None:
    """The prompt shows every property's type."""
    schema = {"type": "object", "properties": {"a": simple(Point | int), "b": simple(int | None)}}
    signature = function_signature("f", schema)
    assert "any," not in signature
    assert "b?: number | null," in signature


hints = st.recursive(
    st.sampled_from([int, str, bool, float, None, Point, Tree, Cat, Literal["a", 1]]),
    lambda inner: (
        inner.map(lambda hint: list[hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: hint | None if hint is not None else None)
        | st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1] if None not in pair else pair[0])
        | inner.map(lambda hint: dict[str, hint])
    ),  # type: ignore[valid-type]
    max_leaves=5,
)


@given(hints)
def test_nothing_unresolved_is_left(hint: Any) -> None:
    """Every reference that stays has its definition, and nothing that the prompt drops stays without need."""
    schema = TypeAdapter(hint).json_schema()
    simplified = simplify(schema)
    references: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            assert "anyOf" not in part
            assert "const" not in part
            references.add(str(part.get("$ref", "#/$defs/")))
            for value in part.values():
                walk(value)
        if isinstance(part, list):
            for value in part:
                walk(value)

    walk(simplified)
    names = {reference.removeprefix("#/$defs/") for reference in references} - {""}
    assert names == set(simplified.get("$defs", {}))
