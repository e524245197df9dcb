"""Types become schemas, and texts become checked values of the type."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from typing_extensions import TypedDict
from writing import MaskWriter

from harmony.errors import OutputError, SchemaError
from harmony.schemas import enforce, output_type


class Colour(enum.Enum):
    RED = "red"
    NONE = 0


class Item(BaseModel):
    name: Annotated[str, Field(min_length=1, pattern="^[a-z]+$")]
    price: float = 0.5
    colour: Colour | None = None


class Order(BaseModel):
    id: uuid.UUID
    at: datetime.datetime
    items: list[Item]
    tags: set[str] = set()
    next: Order | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Even(BaseModel):
    n: int | str

    @field_validator("n")
    @classmethod
    def is_even(cls, n: int | str) -> int | str:
        if isinstance(n, int) and n % 2:
            raise ValueError("odd")
        return n


@dataclass
class Point:
    x: int
    y: int = 0


class Place(TypedDict):
    point: tuple[int, int]
    kind: Literal["a", "b"]


ORDER = Order(
    id=uuid.UUID(int=7),
    at=datetime.datetime(2024, 2, 29, 23, 59, 59, tzinfo=datetime.UTC),
    items=[Item(name="a", colour=Colour.RED), Item(name="b", price=2)],
    tags={"x"},
    next=Order(id=uuid.UUID(int=1), at=datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), items=[]),
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Order, ORDER),
        (Open, Open.model_validate({"a": 1, "b": 2})),
        (Even, Even(n=2)),
        (Point, Point(1, 2)),
        (Place, {"point": (1, 2), "kind": "b"}),
        (Colour, Colour.NONE),
        (list[int], [1, 2]),
        (dict[str, Point], {"a": Point(1)}),
        (int | None, None),
        (Literal["yes", "no"], "no"),
        (datetime.date, datetime.date(2024, 2, 29)),
        (datetime.timedelta, datetime.timedelta(days=2, seconds=3)),
    ],
)
def test_a_value_can_be_written_and_comes_back(kind: Any, value: Any) -> None:
    """What pydantic writes for a value, the mask and the veto accept, and `read` gives the value again."""
    text = TypeAdapter(kind).dump_json(value).decode()
    answers = output_type(kind)
    enforced = enforce(answers.schema)
    veto = enforced.veto()
    assert MaskWriter(enforced.mask).accepts_text(text)
    assert veto.advance(text) is None
    assert veto.finish() is None
    assert answers.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "path", "said"),
    [
        (Order, "{}", (), "'id' is missing"),
        (Item, '{"name": "a", "price": "x"}', ("price",), "number"),
        (dict[str, list[Item]], '{"k": [{"name": "a"}, {"name": ""}]}', ("k", 1, "name"), "1 character"),
        (Even, '{"n": 3}', ("n",), "odd"),
        (Even, '{"n": []}', ("n",), "valid"),
        (list[float], "[NaN]", (), "NaN is no number"),
        (int, "1 2", (), "no JSON"),
        (int, "9" * 5_000, (), "no JSON"),
        (int, "[" * 100_000, (), "nested too deeply"),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, '{"a": [1, "x"]}', ("a", 1), "integer"),
        ({"format": "date-time"}, '"2016-12-31T23:59:60Z"', (), "date-time"),
        ({"pattern": "^a$"}, '"a\\n"', (), "match"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    kind: Any, text: str, path: tuple[str | int, ...], said: str
) -> None:
    """The error says on one line what is wrong, and its path leads there."""
    with pytest.raises(OutputError, match=said) as refusal:
        output_type(kind).read(text)
    assert refusal.value.path == path
    assert "\n" not in str(refusal.value)


def test_objects_of_a_type_are_closed_unless_it_opens_them() -> None:
    """Properties that the type does not name are forbidden, at every depth and whatever their names."""

    class Odd(BaseModel):
        const: Point
        default: Open

    schema: Any = output_type(Odd).schema
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Point"]["additionalProperties"] is False
    assert schema["$defs"]["Open"]["additionalProperties"] is True


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Order, "Order"),
        (list[int], "list"),
        (int | None, "response"),
        ({"title": "My invoice!"}, "My_invoice"),
        ({"title": 3}, "response"),
        ({"title": "n" * 99}, "n" * 64),
    ],
)
def test_the_name_is_one_for_a_response_format(kind: Any, name: str) -> None:
    """Letters, digits and underscores, 64 at most."""
    assert output_type(kind).name == name


@pytest.mark.parametrize("kind", [object(), {"type": "text"}, {"minimum": float("inf")}, pytest.Item])
def test_what_has_no_schema_is_refused(kind: Any) -> None:
    """The error is typed and on one line."""
    with pytest.raises(SchemaError) as refusal:
        output_type(kind)
    assert "\n" not in str(refusal.value)
