"""Chat Completions and harmony: the body of a request becomes a conversation, and back.

    conversation = from_chat({"messages": messages, "tools": tools})
    tokens = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
    message = to_chat_message(read_completion(sampled))

Read are `messages`, `tools`, `response_format` and `reasoning_effort`; what else a body holds is left
alone. docs/conversions.md says what goes where, and what is preserved.
Source: https://platform.openai.com/docs/api-reference/chat, and for `reasoning` and `reasoning_content`
the practice of vLLM and llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Required, TypedDict

from harmony.call_ids import call_ids, random_id
from harmony.draft import Draft
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
    from harmony.completion import ParsedCompletion
    from harmony.messages import Conversation, SystemContent, ToolDescription


class ChatRequest(TypedDict, total=False):
    """The part of a Chat Completions request that is a prompt."""

    messages: Required[list[JsonObject]]
    tools: list[JsonObject]
    response_format: JsonObject
    reasoning_effort: str


def from_chat(request: Mapping[str, object], *, system: SystemContent | None = None) -> Conversation:
    """The conversation in the body of a Chat Completions request.

    `system` is what Chat Completions has no words for: the model's identity, dates and built-in tools. A
    `reasoning_effort` in the body replaces its effort.

    Raises ConversionError for what the format cannot express (images, audio, custom tools) and for a
    malformed body: a role that does not exist, a tool result without its call.

    >>> from_chat({"messages": [{"role": "user", "content": "Hi"}]}).messages[-1].content
    [TextContent(text='Hi')]
    """
    body = Located(request, "")
    if (obsolete := body.get("functions")) is not None:
        raise obsolete.error("functions are declared in tools, and called and answered by id")
    draft = Draft(
        functions=[_read_tool(tool) for tool in body.get_elements("tools")],
        response_format=read_response_format(body.get("response_format"), schema_in="json_schema"),
        effort=read_effort(body.get("reasoning_effort")),
    )
    for message in body["messages"].elements():
        _read_message(message, draft)
    return draft.conversation(system)


def to_chat(messages: Iterable[Message], *, new_id: NewId = random_id) -> ChatRequest:
    """The body of a Chat Completions request for this conversation; the reverse of `from_chat`.

    What the assistant says up to its calls or its answer is one message, so that of a completion there
    is just one. Of the system message only the effort is written; hand its content to `from_chat`.

    Raises ConversionError for what Chat Completions cannot express, such as the result of a tool that was
    not called.
    """
    messages = [*messages]
    return _ChatWriter(call_ids(messages, new_id)).write(messages)


def to_chat_message(completion: ParsedCompletion) -> JsonObject:
    """The message of an assistant that a Chat Completions response holds for this completion."""
    said = [text for text in (completion.commentary, completion.final) if text is not None]
    reasoning = [] if completion.reasoning is None else [completion.reasoning]
    calls = [_write_call(call.id, call.name, call.arguments) for call in completion.tool_calls]
    return _Step(None, reasoning, said, calls).as_message()


def _read_tool(tool: Located) -> ToolDescription:
    if tool["type"].text() != "function":
        raise tool["type"].error(f"the harmony format describes functions alone, no {tool['type'].value!r}")
    return read_function(tool["function"])


def _read_message(message: Located, draft: Draft) -> None:
    role = message["role"]
    match role.text():
        case "system" | "developer":
            draft.instruct("".join(read_texts(message["content"])))
        case "user":
            author = Author(role=Role.USER, name=message.get_text("name"))
            draft.say(author, read_texts(message["content"]))
        case "assistant":
            _read_assistant(message, draft)
        case "tool":
            content = message.get("content")
            draft.answer(message["tool_call_id"], [""] if content is None else read_texts(content))
        case "function":
            raise role.error("functions answer by the role 'tool' with a tool_call_id, not by 'function'")
        case unknown:
            raise role.error(f"{unknown!r} is not a role; use system, developer, user, assistant or tool")


def _read_assistant(message: Located, draft: Draft) -> None:
    """Reasoning, then what was said, then the calls: the order in which the model speaks."""
    for obsolete, instead in (("function_call", "tool_calls"), ("audio", "content")):
        if (field := message.get(obsolete)) is not None:
            raise field.error(f"the harmony format has no place for it; use {instead}")
    author = Author(role=Role.ASSISTANT, name=message.get_text("name"))
    calls = message.get_elements("tool_calls")
    reasoning = _read_reasoning(message)
    content = message.get("content")
    text = "" if content is None else "".join(read_texts(content))
    text += message.get_text("refusal") or ""
    if reasoning:
        draft.say(author, [reasoning], "analysis")
    if text:
        draft.say(author, [text], "commentary" if calls else "final")
    for call in calls:
        if (call.get_text("type") or "function") != "function":
            raise call["type"].error(f"the harmony format calls functions alone, no {call['type'].value!r}")
        function = call["function"]
        draft.call(call["id"], function["name"], function.get_text("arguments") or "")


def _read_reasoning(message: Located) -> str | None:
    reasoning, same = message.get_text("reasoning"), message.get_text("reasoning_content")
    if reasoning and same and reasoning != same:
        raise message["reasoning_content"].error("differs from reasoning, which means the same; send one")
    return reasoning or same


class _ChatWriter:
    """Writes the messages of a conversation, one by one."""

    def __init__(self, ids: dict[int, str]) -> None:
        self._ids = ids
        self._preamble = Preamble()
        self._written: list[JsonObject] = []
        self._step: _Step | None = None

    def write(self, messages: Sequence[Message]) -> ChatRequest:
        for index, message in enumerate(messages):
            self._write_message(index, message)
        self._end_step()
        preamble, request = self._preamble, ChatRequest(messages=self._written)
        if preamble.functions:
            functions = map(write_function, preamble.functions)
            request["tools"] = [{"type": "function", "function": function} for function in functions]
        if preamble.response_format is not None:
            written = write_response_format(preamble.response_format, schema_in="json_schema")
            request["response_format"] = written
        if preamble.effort is not None:
            request["reasoning_effort"] = preamble.effort.lower()
        return request

    def _write_message(self, index: int, message: Message) -> None:
        path = f"messages[{index}]"
        if message.author.role == Role.ASSISTANT:
            self._write_assistant(index, message)
            return
        self._end_step()
        match message.author.role:
            case Role.SYSTEM | Role.DEVELOPER:
                if instructions := self._preamble.take(message, path, opens=not self._written):
                    self._written.append({"role": "developer", "content": instructions})
            case Role.USER:
                name = {} if message.author.name is None else {"name": message.author.name}
                self._written.append({"role": "user", **name, "content": _content(texts_of(message, path))})
            case Role.TOOL:
                content = _content(texts_of(message, path))
                self._written.append({"role": "tool", "tool_call_id": self._ids[index], "content": content})

    def _write_assistant(self, index: int, message: Message) -> None:
        if self._step is None or not self._step.goes_on_with(message):
            self._end_step()
            self._step = _Step(message.author.name)
        text = "".join(texts_of(message, f"messages[{index}]"))
        if (recipient := called_tool(message)) is not None:
            name = name_of(recipient, self._preamble.declared)
            self._step.calls.append(_write_call(self._ids[index], name, text))
        elif message.channel == "analysis":
            self._step.reasoning.append(text)
        else:
            self._step.said.append(text)
            self._step.answered = message.channel != "commentary"

    def _end_step(self) -> None:
        if self._step is not None:
            self._written.append(self._step.as_message())
        self._step = None


@dataclass
class _Step:
    """What the assistant says at a stretch, up to its calls or its answer."""

    name: str | None
    reasoning: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    calls: list[JsonObject] = field(default_factory=list)
    answered: bool = False

    def goes_on_with(self, message: Message) -> bool:
        """Whether a message of the assistant belongs to this step."""
        calls_again = not self.calls or called_tool(message) is not None
        return calls_again and not self.answered and message.author.name == self.name

    def as_message(self) -> JsonObject:
        written: JsonObject = {"role": "assistant"}
        if self.name is not None:
            written["name"] = self.name
        written["content"] = "\n".join(self.said) if self.said else None
        if self.reasoning:
            written["reasoning"] = written["reasoning_content"] = "\n".join(self.reasoning)
        if self.calls:
            written["tool_calls"] = self.calls
        return written


def _write_call(call_id: str, name: str, arguments: str) -> JsonObject:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _content(texts: list[str]) -> object:
    """One text as a string, several as parts."""
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
