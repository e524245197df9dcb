"""How a conversation begins: who the model is, the tools it has, what it is told to do."""

import datetime
from typing import Final

from harmony import (
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    Transcript,
    load_encoding,
)
from harmony.agent.routing import Toolbox
from harmony.memo import Memo

_KEPT: Final = 8
"""How many openings an agent keeps: one for each day and output."""


class Opening:
    """Begins the conversations of an agent, rendered once a day for each output that is asked for."""

    def __init__(self, toolbox: Toolbox, reasoning: ReasoningEffort, instructions: str | None) -> None:
        self._toolbox = toolbox
        self._reasoning = reasoning
        self._instructions = instructions
        self._transcripts = Memo(self._rendered, size=lambda *_: 1, capacity=_KEPT)

    def transcript(self, section: str | None) -> Transcript:
        """The system message, and a developer message if there is something to say, such as a section."""
        return self._transcripts[datetime.date.today().isoformat(), section].copy()

    def _rendered(self, key: tuple[str, str | None]) -> Transcript:
        today, section = key
        system = SystemContent.new().with_reasoning_effort(self._reasoning)
        system = system.with_conversation_start_date(today)
        for tool in self._toolbox.builtin.values():
            system = system.with_tools(tool.namespace)
        messages = [Message.from_role_and_content(Role.SYSTEM, system)]
        functions = [tool.description for tool in self._toolbox.functions.values()]
        text = "\n\n".join(part for part in (self._instructions, section) if part)
        if text or functions:
            developer = DeveloperContent.new()
            if text:
                developer = developer.with_instructions(text)
            if functions:
                developer = developer.with_function_tools(functions)
            messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
        transcript = Transcript(load_encoding())
        transcript.append(*messages)
        return transcript


def told(instructions: str) -> Message:
    """A developer message with more instructions."""
    return Message.from_role_and_content(
        Role.DEVELOPER, DeveloperContent.new().with_instructions(instructions)
    )
