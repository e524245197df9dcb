"""What the answer of a run is: text, or a value of a type that the model is told and held to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harmony.formats import AnswerFormat, Choices, JsonSchema, Lark, Regex
from harmony.memo import Memo

T = TypeVar("T")
Format = AnswerFormat | Mapping[str, object]
"""A format of answers; a mapping is a JSON schema."""


@dataclass(frozen=True, eq=False, slots=True)
class Output(Generic[T]):
    """The format of an answer, None for any text, and the value that an answer in this format stands for.

    `read` raises OutputError for a text that stands for none.
    """

    format: AnswerFormat | None
    read: Callable[[str], T]


TEXT = Output(None, str)
"""Any text."""


def output_of(asked: type[object] | Format) -> Output[Any]:
    """The output that a type or a format asks for. Raises GrammarError for a type without a JSON schema."""
    if isinstance(asked, Regex | Choices | Lark):
        return Output(asked, str)
    if isinstance(asked, JsonSchema):
        return Output(asked, _of(asked.schema).read)
    return _of(asked) if isinstance(asked, Mapping) else _TYPES[asked]


def _of(kind: type[object] | Mapping[str, object]) -> Output[Any]:
    from harmony.schemas import output_type  # its libraries are for who asks for a value

    found = output_type(kind)
    return Output(JsonSchema(found.schema, found.name), found.read)


_TYPES: Memo[type[object], Output[Any]] = Memo(_of, size=lambda *_: 1, capacity=256)
