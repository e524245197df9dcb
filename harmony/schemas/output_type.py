"""Types of answers: a schema for the model and the mask, and the way from the text back to a typed value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from harmony.errors import OutputError, SchemaError
from harmony.schemas.checker import Checker
from harmony.schemas.document import ROOT, Document, as_json
from harmony.schemas.keywords import subschemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails

    from harmony.schemas.algebra import Schema
    from harmony.schemas.growing import Path

T = TypeVar("T")

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, eq=False)
class OutputType(Generic[T]):
    """A type of answers.

    `name` is what the model is told of it, of the letters that names of response formats may have. `schema`
    is the JSON schema to `enforce`. `read` gives the value of a text, or raises `OutputError`.
    """

    name: str
    schema: Mapping[str, Any]
    read: Callable[[str], T]


@overload
def output_type(kind: type[T]) -> OutputType[T]: ...
@overload
def output_type(kind: Mapping[str, object]) -> OutputType[object]: ...
@overload
def output_type(kind: object) -> OutputType[object]: ...
def output_type(kind: object) -> OutputType[Any]:
    """The type of answers that a Python type or a JSON schema stands for.

    What pydantic knows is a type: models, dataclasses, TypedDicts, enums, `list[int]`, `int | None`. Its
    answers are checked by pydantic, and its objects have no properties that it does not name, unless it
    says that it allows them. What a schema stands for is checked by jsonschema, formats included.

    Raises `SchemaError` for a type without a schema, and for what is no schema.

    >>> output_type(dict[str, int]).read('{"a": 1}')
    {'a': 1}
    """
    return _of_schema(kind) if isinstance(kind, Mapping) else _of_type(kind)


def _of_schema(schema: Mapping[str, object]) -> OutputType[object]:
    document = Document(as_json(dict(schema)))
    checker = Checker(document)

    def read(text: str) -> object:
        value = _parsed(text)
        if error := checker.error(document.schema, value):
            raise _wrong(error.message, tuple(error.absolute_path))
        return value

    return OutputType(_name(schema.get("title")), dict(schema), read)


def _of_type(kind: Any) -> OutputType[Any]:
    try:
        adapter = TypeAdapter(kind)
        schema = adapter.json_schema()
    except PydanticUserError as error:
        said = error.message.splitlines()[0]
        raise SchemaError(
            f"{kind!r} has no JSON schema ({said}); use a pydantic model.", path=ROOT
        ) from error
    _close(schema)

    def read(text: str) -> Any:
        value = _parsed(text)
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise _wrong(_problem(first), _path(first, value)) from error

    return OutputType(_name(getattr(kind, "__name__", None)), schema, read)


def _close(schema: dict[str, Any]) -> None:
    """Forbid further properties in each object that names its own and is silent about others."""
    waiting: list[Schema] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "properties" in part:
                part.setdefault("additionalProperties", False)
            waiting += [below for keyword, value in part.items() for _, below in subschemas(keyword, value)]


def _name(name: object) -> str:
    """A name for a response format; `response` for what has none."""
    letters = _NOT_IN_A_NAME.sub("_", name)[:_LONGEST_NAME] if isinstance(name, str) else ""
    return letters.strip("_") or "response"


def _parsed(text: str) -> object:
    """The value of a JSON text; raises `OutputError`."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise _wrong(f"it is no JSON ({error})", ()) from error
    except RecursionError as error:
        raise _wrong("it is nested too deeply", ()) from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _problem(error: ErrorDetails) -> str:
    return f"{error['loc'][-1]!r} is missing" if error["type"] == "missing" else error["msg"]


def _path(error: ErrorDetails, value: Any) -> Path:
    """Where in a value an error of pydantic is: its location without the members of unions in it."""
    path: Path = ()
    for step in error["loc"]:
        is_inside = step in value if isinstance(value, dict) else step in range(_length(value))
        if is_inside:
            path, value = (*path, step), value[step]
    return path


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _wrong(problem: str, path: Path) -> OutputError:
    place = ".".join(map(str, path)) or "The answer"
    return OutputError(f"{place} is not what was asked for: {problem}; ask again.", path=path)
