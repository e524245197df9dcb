"""What the server remembers: how conversations open, and the states of those that went on."""

from harmony import DeveloperContent, Message, Role, SystemContent, ToolDescription, Transcript, load_encoding
from harmony.server.store import States

SYSTEM = Message.from_role_and_content(Role.SYSTEM, SystemContent.new())
TOOLS = DeveloperContent.new().with_function_tools([ToolDescription.new("add", "Adds.", {"type": "object"})])
OPENING = [SYSTEM, Message.from_role_and_content(Role.DEVELOPER, TOOLS)]


def asking(text: str) -> list[Message]:
    return [*OPENING, Message.from_role_and_content(Role.USER, text)]


def test_an_opening_is_rendered_once() -> None:
    """What is kept of it is that of no one's conversation."""
    states = States(1000)
    first, second = (states.resume(asking(text)).transcript for text in ("Hi", "Bye"))
    assert second.said[0] is first.said[0]
    assert second.said[1] is first.said[1]
    rendered = Transcript(load_encoding())
    rendered.append(*asking("Bye"))
    assert second.prompt == rendered.prompt
    assert first.prompt != rendered.prompt


def test_a_conversation_that_is_all_opening() -> None:
    states = States(1000)
    assert states.resume(OPENING).transcript.prompt == states.resume(OPENING).transcript.prompt
