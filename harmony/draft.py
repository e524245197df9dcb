"""A conversation put together from messages that name tool calls by id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from harmony.messages import (
    Author,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)
from harmony.recipients import channel_of, content_type_of, recipient_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.formats import JsonSchema
    from harmony.located import Located

_SPACE: Final = re.compile(r"\s")


class Draft:
    """What becomes a conversation: system message, developer message, then what was said.

    Instructions before anything else was said are joined in the developer message. A result comes
    directly behind its call, whatever lay between them, because the model makes one call at a time.
    """

    def __init__(
        self,
        functions: Sequence[ToolDescription],
        response_format: JsonSchema | None,
        effort: ReasoningEffort | None,
    ) -> None:
        self._functions = functions
        self._declared = {function.name for function in functions}
        self._response_format = response_format
        self._effort = effort
        self._instructions: list[str] = []
        self._said: list[list[Message]] = []
        self._calls: dict[str, list[Message]] = {}

    def instruct(self, text: str) -> None:
        """Add instructions of the application; empty ones say nothing."""
        if not self._said:
            self._instructions += [text] if text else []
        elif text:
            developer = DeveloperContent(instructions=text)
            self._said.append([Message.from_role_and_content(Role.DEVELOPER, developer)])

    def say(self, author: Author, texts: Sequence[str], channel: str | None = None) -> None:
        """Add a message."""
        contents = [TextContent(text=text) for text in texts]
        self._said.append([Message(author=author, content=[*contents], channel=channel)])

    def call(self, call_id: Located, name: Located, arguments: str) -> None:
        """Add a tool call. Raises ConversionError for a name that cannot stand in a header."""
        if not name.text() or _SPACE.search(name.text()):
            raise name.error("must be the name of a tool, without spaces")
        recipient = recipient_of(name.text(), self._declared)
        message = Message.from_role_and_content(Role.ASSISTANT, arguments).with_recipient(recipient)
        message = message.with_channel(channel_of(recipient)).with_content_type(content_type_of(recipient))
        self._calls[call_id.text()] = [message]
        self._said.append(self._calls[call_id.text()])

    def answer(self, call_id: Located, texts: Sequence[str]) -> None:
        """Add the result of a call. Raises ConversionError if the call is not there, or has a result."""
        exchange = self._calls.get(call_id.text())
        if exchange is None:
            raise call_id.error(f"there is no tool call with the id {call_id.text()!r} before it")
        if len(exchange) > 1:
            raise call_id.error(f"the tool call {call_id.text()!r} has a result already")
        call = exchange[0]
        exchange.append(
            Message(
                author=Author(role=Role.TOOL, name=call.recipient),
                content=[TextContent(text=text) for text in texts],
                channel=call.channel,
                recipient=Role.ASSISTANT.value,
            )
        )

    def conversation(self, system: SystemContent | None) -> Conversation:
        """All of it, with this system message or the usual one."""
        opening = SystemContent.new() if system is None else system.model_copy()
        if self._effort is not None:
            opening.reasoning_effort = self._effort
        said = [message for exchange in self._said for message in exchange]
        system_message = Message.from_role_and_content(Role.SYSTEM, opening)
        return Conversation(messages=[system_message, *self._developer_message(), *said])

    def _developer_message(self) -> list[Message]:
        instructions = "\n\n".join(self._instructions)
        if self._response_format is not None:
            instructions = self._response_format.appended_to(instructions)
        if not instructions and not self._functions:
            return []
        developer = DeveloperContent(instructions=instructions or None)
        if self._functions:
            developer = developer.with_function_tools(self._functions)
        return [Message.from_role_and_content(Role.DEVELOPER, developer)]
