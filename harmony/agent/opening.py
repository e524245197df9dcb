"""How a conversation begins or goes on: who the model is, the tools it has, what it is told and asked."""

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
from harmony.agent.calls import NOT_RUN, open_call
from harmony.agent.routing import Toolbox
from harmony.memo import Memo

_KEPT: Final = 8
"""How many openings an agent keeps: one for each day and output."""


class Opening:
    """Begins the conversations of an agent, rendered once a day for each output that is asked for.

    There is a system message, and a developer message if there is something to say.
    """

    def __init__(self, toolbox: Toolbox, reasoning: ReasoningEffort, instructions: str | None) -> None:
        self._toolbox = toolbox
        self._reasoning = reasoning
        self._instructions = instructions
        self._transcripts = Memo(self._rendered, size=lambda *_: 1, capacity=_KEPT)

    def conversation(self, prompt: str | None, earlier: Transcript | None, section: str | None) -> Transcript:
        """A conversation that ends with `prompt`, in which the model is told the `section` of its output.

        It goes on from `earlier`, where a call that stands open is answered first. Without a prompt it is
        `earlier` as it stands; raises ValueError when there is nothing in it.
        """
        if earlier is not None and earlier.said:
            transcript = earlier.copy()
            if prompt is None:
                return transcript
            if (call := open_call(earlier.said)) is not None:
                transcript.append(call.answered(self._toolbox.author(call.recipient), NOT_RUN))
            if section is not None:
                content = DeveloperContent.new().with_instructions(section)
                transcript.append(Message.from_role_and_content(Role.DEVELOPER, content))
        elif prompt is not None:
            transcript = self._transcripts[datetime.date.today().isoformat(), section].copy()
        else:
            raise ValueError("there is nothing to go on with: give a prompt, or what was said before")
        transcript.append(Message.from_role_and_content(Role.USER, prompt))
        return transcript

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
