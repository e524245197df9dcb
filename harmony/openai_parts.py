"""What Chat Completions and Responses say in the same words: texts, functions, answer formats, effort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from harmony.errors import ConversionError
from harmony.formats import JsonSchema
from harmony.messages import (
    DeveloperContent,
    Message,
    ReasoningEffort,
    SystemContent,
    TextContent,
    ToolDescription,
)
from harmony.recipients import is_function_name
from harmony.response_formats import split_response_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.located import Located

JsonObject = dict[str, object]

_TEXT_OF: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "reasoning_text": "text",
    "summary_text": "text",
    "refusal": "refusal",
}
"""The field that holds the text in each type of content part."""

_JSON_OBJECT: Final = JsonSchema({"type": "object"}, "json_object")


def read_texts(content: Located) -> list[str]:
    """The texts of a content that is a string or a list of parts. Raises ConversionError for another part."""
    if isinstance(content.value, str):
        return [content.value]
    if not isinstance(content.value, Sequence):
        raise content.error("must be a string or a list of parts")
    return [_read_part(part) for part in content.elements()] or [""]


def _read_part(part: Located) -> str:
    kind = part.get_text("type") or "text"
    if kind not in _TEXT_OF:
        raise part["type"].error(f"the harmony format holds text alone, no {kind!r}; leave it out")
    return part[_TEXT_OF[kind]].text()


def read_function(function: Located) -> ToolDescription:
    """A function and its parameters. Raises ConversionError."""
    name, parameters = function["name"], function.get("parameters")
    if not is_function_name(name.text()):
        raise name.error("must be 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
    schema = None if parameters is None else dict(parameters.members())
    return ToolDescription.new(name.text(), function.get_text("description") or "", schema)


def write_function(function: ToolDescription) -> JsonObject:
    """What `read_function` reads; what says nothing is left out."""
    written: JsonObject = {"name": function.name}
    if function.description:
        written["description"] = function.description
    if function.parameters is not None:
        written["parameters"] = function.parameters
    return written


def read_effort(effort: Located | None) -> ReasoningEffort | None:
    """The reasoning effort. Raises ConversionError for one that is not low, medium or high."""
    if effort is None:
        return None
    try:
        return ReasoningEffort(effort.text().capitalize())
    except ValueError:
        raise effort.error(f"must be low, medium or high, not {effort.text()!r}") from None


def read_response_format(stated: Located | None, *, schema_in: str | None) -> JsonSchema | None:
    """The format of answers, whose name and schema lie in this member of it. Raises ConversionError."""
    kind = None if stated is None else stated["type"]
    if stated is None or kind is None or kind.value == "text":
        return None
    if kind.value == "json_object":
        return _JSON_OBJECT
    if kind.value != "json_schema":
        raise kind.error(f"must be text, json_object or json_schema, not {kind.value!r}")
    details = stated if schema_in is None else stated[schema_in]
    name = details["name"]
    if not is_function_name(name.text()):
        raise name.error("must be 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
    return JsonSchema(details["schema"].members(), name.text(), details.get_text("description"))


def write_response_format(stated: JsonSchema, *, schema_in: str | None) -> JsonObject:
    """What `read_response_format` reads."""
    if stated == _JSON_OBJECT:
        return {"type": "json_object"}
    about = {} if stated.description is None else {"description": stated.description}
    details: JsonObject = {"name": stated.name, **about, "schema": dict(stated.schema)}
    return {"type": "json_schema", **(details if schema_in is None else {schema_in: details})}


class Preamble:
    """What the system and developer messages of a conversation say beside instructions."""

    def __init__(self) -> None:
        self.effort: ReasoningEffort | None = None
        self.functions: list[ToolDescription] = []
        self.response_format: JsonSchema | None = None

    @property
    def declared(self) -> set[str]:
        """The names of the functions."""
        return {function.name for function in self.functions}

    def take(self, message: Message, path: str, *, opens: bool) -> str:
        """The instructions in a message, "" where there are none; the rest is kept here.

        Of a message that opens the conversation, that is the response format too. Raises ConversionError
        for tools that are not functions.
        """
        instructions = ""
        for index, content in enumerate(message.content):
            match content:
                case TextContent():
                    instructions += content.text
                case SystemContent():
                    self.effort = content.reasoning_effort
                case DeveloperContent():
                    self._take_functions(content, f"{path}.content[{index}]")
                    instructions += content.instructions or ""
        if opens and self.response_format is None:
            rest, self.response_format = split_response_format(instructions)
            return rest or ""
        return instructions

    def _take_functions(self, developer: DeveloperContent, path: str) -> None:
        for key, namespace in (developer.tools or {}).items():
            if key != "functions" or namespace.name != key or namespace.description is not None:
                raise ConversionError(f"{path}.tools.{key}", "only plain functions can be converted")
            for index, function in enumerate(namespace.tools):
                if not is_function_name(function.name):
                    raise ConversionError(
                        f"{path}.tools.{key}.tools[{index}].name", f"{function.name!r} is not a name there"
                    )
            self.functions += namespace.tools


def texts_of(message: Message, path: str) -> list[str]:
    """The texts of a message. Raises ConversionError for other content."""
    return [*_texts(message, path)]


def _texts(message: Message, path: str) -> Iterator[str]:
    for index, content in enumerate(message.content):
        if not isinstance(content, TextContent):
            kind = type(content).__name__
            raise ConversionError(
                f"{path}.content[{index}]", f"a message of the {message.author.role} cannot hold {kind}"
            )
        yield content.text
