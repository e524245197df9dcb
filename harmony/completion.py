"""A whole completion, read in one call: what the model thought, what it said, what it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony.call_ids import random_id
from harmony.encoding import load_encoding
from harmony.messages import Message, Role
from harmony.recipients import called_tool, name_of
from harmony.streaming import StreamableParser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harmony.call_ids import NewId
    from harmony.faults import Diagnostic
    from harmony.streaming import Ending, ParsedMessage


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call as the model wrote it, with an id to refer to it.

    `name` is that of the function without `functions.`, or the address of a built-in tool (`python`,
    `browser.search`). `arguments` are text: JSON for functions if the model got it right, and cut short
    if the call is not `complete`.
    """

    id: str
    name: str
    arguments: str
    recipient: str
    complete: bool


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """What the assistant said in a completion; what it did not say is None.

    Several messages on one channel are joined by newlines; `messages` has them one by one.
    """

    parsed_messages: tuple[ParsedMessage, ...]
    tool_calls: tuple[ToolCall, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def messages(self) -> list[Message]:
        """The messages of the assistant, tool calls among them."""
        parsed = (each.message for each in self.parsed_messages)
        return [message for message in parsed if message.author.role == Role.ASSISTANT]

    @property
    def reasoning(self) -> str | None:
        """The analysis, not meant for the user's eyes."""
        return _joined(m for m in self._spoken if m.channel == "analysis")

    @property
    def commentary(self) -> str | None:
        """What the user is told before tool calls."""
        return _joined(m for m in self._spoken if m.channel == "commentary")

    @property
    def final(self) -> str | None:
        """The answer, on the final channel or on none that the format knows."""
        return _joined(m for m in self._spoken if m.channel not in ("analysis", "commentary"))

    @property
    def ending(self) -> Ending | None:
        """The stop token that ended the last message; None if it was cut off, or there is none."""
        return self.parsed_messages[-1].ending if self.parsed_messages else None

    @property
    def _spoken(self) -> list[Message]:
        return [message for message in self.messages if called_tool(message) is None]


def read_completion(tokens: Sequence[int], *, new_id: NewId = random_id) -> ParsedCompletion:
    """What the assistant said in the tokens sampled after `<|start|>assistant`; whole messages do as well.

    Never raises on malformed tokens: all text is kept, and `diagnostics` tell what was repaired.

    >>> sampled = load_encoding().encode("<|channel|>final<|message|>4<|return|>", allowed_special="all")
    >>> read_completion(sampled).final
    '4'
    """
    parser = StreamableParser(load_encoding(), Role.ASSISTANT, strict=False)
    parsed = parser.process_all(tokens).process_eos().parsed_messages
    calls = (_tool_call(each, new_id) for each in parsed)
    return ParsedCompletion(parsed, tuple(call for call in calls if call is not None), parser.diagnostics)


def _tool_call(parsed: ParsedMessage, new_id: NewId) -> ToolCall | None:
    if (recipient := called_tool(parsed.message)) is None:
        return None
    return ToolCall(
        id=new_id("call"),
        name=name_of(recipient, declared=()),
        arguments=parsed.message.text,
        recipient=recipient,
        complete=parsed.ending is not None,
    )


def _joined(messages: Iterable[Message]) -> str | None:
    texts = [message.text for message in messages]
    return "\n".join(texts) if texts else None
