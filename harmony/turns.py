"""Whose turn it is, and which reasoning a prompt leaves out.

A turn begins with a message of the user. Reasoning is what stands on the analysis channel: thoughts,
calls of built-in tools, and their results.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from harmony.messages import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.messages import Message


class DropRule(StrEnum):
    """Which reasoning a prompt leaves out.

    FINISHED_TURNS leaves out that of the turns before the current one, so that a prompt only grows
    within a turn; source: https://github.com/openai/harmony, docs/format.md. REFERENCE is
    `auto_drop_analysis` of openai-harmony 0.0.8: once the assistant's last message is final, what
    stands before the first final message is left out, until the assistant speaks on another channel.
    NOTHING leaves out none.
    """

    FINISHED_TURNS = "finished_turns"
    REFERENCE = "reference"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Turns:
    """How far a conversation is, after `count` messages.

    `start` is the index of the last user message, 0 before the first one; `first_final` the index of
    the first message on the final channel; `answered` says whether the assistant spoke last on it.
    """

    count: int = 0
    start: int = 0
    first_final: int | None = None
    answered: bool = False

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Turns:
        """Where a conversation is after these messages: what `after` gives one by one, at once."""
        count = len(messages)
        asked = (i for i in reversed(range(count)) if messages[i].author.role == Role.USER)
        final = (i for i, message in enumerate(messages) if message.channel == "final")
        spoken = (m.channel for m in reversed(messages) if m.author.role == Role.ASSISTANT)
        return Turns(count, next(asked, 0), next(final, None), next(spoken, None) == "final")

    def after(self, role: Role | None, channel: str | None) -> Turns:
        """Where it is after one more message; of role None if it is none, which changes nothing else."""
        first_final = self.count if self.first_final is None and channel == "final" else self.first_final
        return Turns(
            count=self.count + 1,
            start=self.count if role == Role.USER else self.start,
            first_final=first_final,
            answered=channel == "final" if role == Role.ASSISTANT else self.answered,
        )

    def boundary(self, rule: DropRule) -> int:
        """The index of the first message whose reasoning stays."""
        if rule is DropRule.FINISHED_TURNS:
            return self.start
        if rule is DropRule.REFERENCE and self.answered and self.first_final is not None:
            return self.first_final
        return 0


def is_reasoning(message: Message) -> bool:
    """Whether a rule may drop it: thoughts, the call of a built-in tool, its result."""
    return message.channel == "analysis"


def in_context(messages: Sequence[Message], rule: DropRule) -> Sequence[Message]:
    """The messages that a prompt shows under this rule."""
    boundary = Turns.of(messages).boundary(rule)
    if boundary == 0:
        return messages
    return [*(m for m in messages[:boundary] if not is_reasoning(m)), *messages[boundary:]]
