"""The arguments of a call: from the text that the model wrote to values that fit, or a ToolError.

Its message is written for the model to act on: which field, what is wrong, what is expected; and where the
JSON was cut short, that it was.
"""

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from harmony import ToolDescription
from harmony.errors import ToolError

Validate = Callable[[dict[str, Any]], tuple[list[Any], dict[str, Any]]]

_ERRORS_SHOWN = 5
_INPUT_SHOWN = 80


def by_model(
    described: ToolDescription, model: type[BaseModel], parameters: list[inspect.Parameter]
) -> Validate:
    """Validation by a model with a field `argument_N` for each parameter; values by position and by name."""

    def validate(arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        try:
            values = model.model_validate(arguments)
        except ValidationError as error:
            raise _invalid(
                described, [_problem(one, described) for one in error.errors(include_url=False)]
            ) from error
        by_position: list[Any] = []
        by_name: dict[str, Any] = {}
        for index, parameter in enumerate(parameters):
            value = getattr(values, f"argument_{index}")
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                by_position.append(value)
            else:
                by_name[parameter.name] = value
        return by_position, by_name

    return validate


def by_schema(described: ToolDescription) -> Validate:
    """Validation by the JSON schema of the description; everything by name. ToolError if it is no schema."""
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema = described.parameters or {"type": "object", "properties": {}}
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ToolError(
            f"The parameters of {described.name} are not a JSON schema: {error.message}"
        ) from error
    validator = Draft202012Validator(schema, registry=Registry())  # a registry that fetches nothing

    def validate(arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        try:
            problems = [
                f"{'.'.join(map(str, error.absolute_path)) or 'arguments'}: {_shortened(error.message)}"
                for error in validator.iter_errors(arguments)
            ]
        except Unresolvable as error:
            raise ToolError(f"The schema of {described.name} refers to what is not in it: {error}") from error
        if problems:
            raise _invalid(described, problems)
        return [], arguments

    return validate


def parsed(arguments: str) -> dict[str, Any]:
    """The JSON object that the model wrote; nothing at all counts as no arguments."""
    text = arguments.strip()
    if not text:
        return {}
    try:
        value = from_json(text)
    except ValueError as error:
        if str(error).startswith("EOF"):
            raise ToolError(
                f"The arguments are cut short: the JSON ends after {len(text)} characters, before it is "
                "complete. Send the whole object again."
            ) from error
        raise ToolError(f"The arguments are not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ToolError(f"The arguments must be a JSON object, such as {{}}, not {_shortened(text)}")
    return value


def _problem(error: ErrorDetails, described: ToolDescription) -> str:
    """One thing that is wrong: the field, the problem, what is expected."""
    place = ".".join(str(part) for part in error["loc"]) or "arguments"
    known: dict[str, dict[str, Any]] = (described.parameters or {}).get("properties", {})
    if error["type"] == "missing":
        expected = known.get(place, {}).get("type")
        return f"{place} is missing" + (f" (expected: {expected})" if isinstance(expected, str) else "")
    if error["type"] == "extra_forbidden":
        there = f" (there are: {', '.join(known) or 'none'})" if len(error["loc"]) == 1 else ""
        return f"{place} is not a parameter{there}"
    given = to_json(error["input"], fallback=repr).decode()
    return f"{place}: {error['msg']}, got {_shortened(given)}"


def _invalid(described: ToolDescription, problems: list[str]) -> ToolError:
    more = f"; and {len(problems) - _ERRORS_SHOWN} more" if len(problems) > _ERRORS_SHOWN else ""
    return ToolError(f"Invalid arguments for {described.name}: {'; '.join(problems[:_ERRORS_SHOWN])}{more}")


def _shortened(text: str) -> str:
    return text if len(text) <= _INPUT_SHOWN else f"{text[:_INPUT_SHOWN]}…"
