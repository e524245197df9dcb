"""Calls of tools: the one that a conversation ends with, and what the model is told in answer to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harmony import Author, HarmonyEncoding, Message, Role, Segment, TextContent
from harmony.recipients import is_call
from harmony.vocabulary import CALL, RETURN

TOOL_OUTPUT_TOKENS: Final = 16_384
"""How much of a tool's answer the model reads, unless something else is asked for."""

NOT_RUN: Final = "Error: this call did not run to its end; the conversation went on without its result."


@dataclass(frozen=True)
class Call:
    """A complete tool call as the model wrote it."""

    recipient: str
    arguments: str
    channel: str

    @classmethod
    def of(cls, message: Message) -> "Call":
        """The call that a message is."""
        return cls(message.recipient or "", message.text, message.channel or "commentary")

    def answered(self, author: str, text: str) -> Message:
        """The message in which the tool `author` answers."""
        return Message(
            author=Author(role=Role.TOOL, name=author),
            content=[TextContent(text=text)],
            channel=self.channel,
            recipient="assistant",
        )


def open_call(said: Sequence[Segment]) -> Call | None:
    """The call that a conversation ends with, which no tool has answered yet."""
    last = said[-1:]
    if not last or not last[0].is_sampled or last[0].tokens[-1] not in (CALL, RETURN):
        return None
    message = last[0].message
    return Call.of(message) if message is not None and is_call(message.recipient) else None


def fitted(encoding: HarmonyEncoding, text: str, most: int, context_length: int) -> str:
    """What a tool said, cut in the middle to `most` tokens, or to a quarter of the model's context.

    The note of what was left out is among them; it stands alone where nothing else has room.
    """
    return _cut_in_the_middle(encoding, text, min(most, context_length // 4))


def _cut_in_the_middle(encoding: HarmonyEncoding, text: str, most: int) -> str:
    if 4 * len(text) <= most:  # a character is of four bytes at most, and a token of one at least
        return text
    tokens = encoding.encode(text, disallowed_special=())
    if len(tokens) <= most:
        return text
    kept = most
    while True:
        half = max(0, kept // 2)
        head, tail = tokens[:half], tokens[len(tokens) - half :]
        note = f"[… {len(tokens) - 2 * half} tokens left out …]"
        cut = f"{encoding.decode(head)}\n{note}\n{encoding.decode(tail)}"
        excess = len(encoding.encode(cut, disallowed_special=())) - most
        if excess <= 0 or not half:
            return cut
        kept -= excess
