"""How a conversation begins: who the model is, the tools it has, what it is told to do."""

import datetime

from harmony import (
    DeveloperContent,
    HarmonyEncoding,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    Transcript,
)
from harmony.agent.routing import Toolbox


def opening(
    encoding: HarmonyEncoding, toolbox: Toolbox, reasoning: ReasoningEffort, *instructions: str | None
) -> Transcript:
    """A transcript of the system message, and of the developer message if there is something to say."""
    transcript = Transcript(encoding)
    system = SystemContent.new().with_reasoning_effort(reasoning)
    system = system.with_conversation_start_date(datetime.date.today().isoformat())
    for tool in toolbox.builtin.values():
        system = system.with_tools(tool.namespace)
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    functions = [tool.description for tool in toolbox.functions.values()]
    text = "\n\n".join(part for part in instructions if part)
    if text or functions:
        developer = DeveloperContent.new()
        if text:
            developer = developer.with_instructions(text)
        if functions:
            developer = developer.with_function_tools(functions)
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    transcript.append(*messages)
    return transcript


def told(instructions: str) -> Message:
    """A developer message with more instructions."""
    return Message.from_role_and_content(
        Role.DEVELOPER, DeveloperContent.new().with_instructions(instructions)
    )
