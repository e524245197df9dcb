"""Responses and harmony: the body of a request becomes a conversation, and back, item by item.

Read are `instructions`, `input`, `tools`, `text.format` and `reasoning.effort`; what else a body holds is
left alone. docs/conversions.md says what goes where, and what is preserved.
Source: https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Required, TypedDict

from harmony.call_ids import call_ids, random_id
from harmony.draft import Draft
from harmony.errors import ConversionError
from harmony.located import Located
from harmony.messages import Author, Message, Role
from harmony.openai_parts import (
    JsonObject,
    Preamble,
    read_effort,
    read_function,
    read_response_format,
    read_texts,
    texts_of,
    write_function,
    write_response_format,
)
from harmony.recipients import called_tool, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harmony.call_ids import NewId
    from harmony.messages import Conversation, SystemContent, ToolDescription

_CHANNELS: Final = {"commentary": "commentary", "final_answer": "final"}
_PHASES: Final = {channel: phase for phase, channel in _CHANNELS.items()}


class ResponsesRequest(TypedDict, total=False):
    """The part of a Responses request that is a prompt."""

    instructions: str
    input: Required[list[JsonObject]]
    tools: list[JsonObject]
    text: JsonObject
    reasoning: JsonObject


def from_responses(request: Mapping[str, object], *, system: SystemContent | None = None) -> Conversation:
    """The conversation in the body of a Responses request; `input` may be a string or a list of items.

    `system` is what Responses has no words for: the model's identity, dates and built-in tools. A
    `reasoning.effort` in the body replaces its effort.

    Raises ConversionError for what the format cannot express (images, files, items of hosted tools) and
    for a malformed body: a role that does not exist, an output without its call.

    >>> from_responses({"input": "Hi"}).messages[-1].content
    [TextContent(text='Hi')]
    """
    body = Located(request, "")
    text, reasoning = body.get("text"), body.get("reasoning")
    draft = Draft(
        functions=[_read_tool(tool) for tool in body.get_elements("tools")],
        response_format=read_response_format(text and text.get("format"), schema_in=None),
        effort=read_effort(reasoning and reasoning.get("effort")),
    )
    draft.instruct(body.get_text("instructions") or "")
    given = body["input"]
    if isinstance(given.value, str):
        draft.say(Author(role=Role.USER), [given.value])
        return draft.conversation(system)
    items = given.elements()
    for index in range(len(items)):
        _read_item(items, index, draft)
    return draft.conversation(system)


def to_responses(messages: Iterable[Message], *, new_id: NewId = random_id) -> ResponsesRequest:
    """The body of a Responses request for this conversation; the reverse of `from_responses`.

    Every message is an item, so that of a completion `input` is the `output` of a response. Of the system
    message only the effort is written; hand its content to `from_responses`.

    Raises ConversionError for what Responses cannot express, such as the result of a tool that was not
    called.
    """
    messages = [*messages]
    return _ResponsesWriter(call_ids(messages, new_id), new_id).write(messages)


def _read_tool(tool: Located) -> ToolDescription:
    kind = tool["type"]
    if kind.text() != "function":
        raise kind.error(f"the harmony format describes functions alone, no {kind.value!r}")
    return read_function(tool)


def _write_tool(function: ToolDescription) -> JsonObject:
    """All that the API requires; without `strict` it would take the schema for a strict one."""
    return {"type": "function", "parameters": None, "strict": False, **write_function(function)}


def _read_item(items: Sequence[Located], index: int, draft: Draft) -> None:
    item = items[index]
    kind = item.get_text("type") or "message"
    match kind:
        case "message":
            _read_message(items, index, draft)
        case "reasoning":
            if thought := _read_reasoning(item):
                draft.say(Author(role=Role.ASSISTANT), thought, "analysis")
        case "function_call":
            draft.call(item["call_id"], item["name"], item["arguments"].text())
        case "function_call_output":
            draft.answer(item["call_id"], read_texts(item["output"]))
        case _:
            raise item["type"].error(f"the harmony format has no {kind!r}; leave the item out")


def _read_message(items: Sequence[Located], index: int, draft: Draft) -> None:
    role, texts = items[index]["role"], read_texts(items[index]["content"])
    match role.text():
        case "system" | "developer":
            draft.instruct("".join(texts))
        case "user":
            draft.say(Author(role=Role.USER), texts)
        case "assistant":
            draft.say(Author(role=Role.ASSISTANT), texts, _channel(items, index))
        case unknown:
            raise role.error(f"{unknown!r} is not a role; use system, developer, user or assistant")


def _channel(items: Sequence[Located], index: int) -> str:
    """The channel of a message: by its phase, or else commentary if it is the preamble of a call."""
    phase = items[index].get("phase")
    if phase is None:
        later = (items[other].get_text("type") for other in range(index + 1, len(items)))
        following = next((kind for kind in later if kind != "reasoning"), None)
        return "commentary" if following == "function_call" else "final"
    if phase.text() not in _CHANNELS:
        raise phase.error(f"must be commentary or final_answer, not {phase.value!r}")
    return _CHANNELS[phase.text()]


def _read_reasoning(item: Located) -> list[str]:
    """The reasoning, or its summary where only that was kept."""
    for member in ("content", "summary"):
        if (stated := item.get(member)) is not None and stated.value:
            return read_texts(stated)
    if (encrypted := item.get("encrypted_content")) is not None:
        raise encrypted.error("only who encrypted it can read it; leave the item out")
    return []


class _ResponsesWriter:
    """Writes the messages of a conversation as items, one by one."""

    def __init__(self, ids: dict[int, str], new_id: NewId) -> None:
        self._ids = ids
        self._new_id = new_id
        self._preamble = Preamble()
        self._instructions: str | None = None
        self._written: list[JsonObject] = []

    def write(self, messages: Sequence[Message]) -> ResponsesRequest:
        for index, message in enumerate(messages):
            self._write_message(index, message)
        preamble, request = self._preamble, ResponsesRequest(input=self._written)
        if self._instructions is not None:
            request["instructions"] = self._instructions
        if preamble.functions:
            request["tools"] = [*map(_write_tool, preamble.functions)]
        if preamble.response_format is not None:
            request["text"] = {"format": write_response_format(preamble.response_format, schema_in=None)}
        if preamble.effort is not None:
            request["reasoning"] = {"effort": preamble.effort.lower()}
        return request

    def _write_message(self, index: int, message: Message) -> None:
        role, path = message.author.role, f"messages[{index}]"
        if role != Role.TOOL and message.author.name is not None:
            raise ConversionError(f"{path}.name", "Responses has no names of authors; leave it out")
        match role:
            case Role.SYSTEM | Role.DEVELOPER:
                self._write_instructions(message, path)
            case Role.USER:
                self._write_input("user", texts_of(message, path))
            case Role.TOOL:
                output = _input_content(texts_of(message, path))
                item = {"type": "function_call_output", "call_id": self._ids[index], "output": output}
                self._written.append(item)
            case Role.ASSISTANT:
                self._written.append(self._assistant_item(index, message))

    def _write_instructions(self, message: Message, path: str) -> None:
        opens = self._instructions is None and not self._written
        instructions = self._preamble.take(message, path, opens=opens)
        if instructions and opens:
            self._instructions = instructions
        elif instructions:
            self._write_input("developer", [instructions])

    def _write_input(self, role: str, texts: list[str]) -> None:
        self._written.append({"type": "message", "role": role, "content": _input_content(texts)})

    def _assistant_item(self, index: int, message: Message) -> JsonObject:
        texts = texts_of(message, f"messages[{index}]")
        if (recipient := called_tool(message)) is not None:
            return {
                "type": "function_call",
                "id": self._new_id("fc"),
                "call_id": self._ids[index],
                "name": name_of(recipient, self._preamble.declared),
                "arguments": "".join(texts),
                "status": "completed",
            }
        if message.channel == "analysis":
            parts: list[JsonObject] = [{"type": "reasoning_text", "text": text} for text in texts]
            return {"type": "reasoning", "id": self._new_id("rs"), "summary": [], "content": parts}
        return {
            "type": "message",
            "id": self._new_id("msg"),
            "role": "assistant",
            "status": "completed",
            "phase": _PHASES.get(message.channel or "final", "final_answer"),
            "content": [{"type": "output_text", "text": text, "annotations": []} for text in texts],
        }


def _input_content(texts: list[str]) -> object:
    """One text as a string, several as parts."""
    return texts[0] if len(texts) == 1 else [{"type": "input_text", "text": text} for text in texts]
