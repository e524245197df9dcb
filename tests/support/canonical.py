"""Conversations in the normal form that conversions keep exactly: docs/conversions.md says what it is."""

from collections import Counter
from typing import Any

from hypothesis import strategies as st

from harmony import (
    Author,
    Conversation,
    DeveloperContent,
    JsonSchema,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)

JSON = "<|constrain|>json"

texts = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
    st.sampled_from(
        ["null", "a\n\n# Response Formats\n\n## p\n\n{}", '# Response Formats\n\n## p\n\n{"a": 1}', "<|end|>"]
    ),
)
function_names = st.sampled_from(["f", "get_weather", "a-b"])
schemas: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string", "default": "é"}}, "required": ["a"]},
        {"type": "object", "properties": {}},
    ]
)
functions = st.lists(
    st.builds(
        ToolDescription,
        name=function_names,
        description=st.just("") | texts,
        parameters=st.none() | schemas,
    ),
    max_size=3,
    unique_by=lambda function: function.name,
)
response_formats = st.none() | st.builds(
    JsonSchema,
    name=st.sampled_from(["p", "json_object", "a-b"]),
    schema=schemas | st.just({"type": "object"}),
    description=st.none() | st.sampled_from(["Of people.", "Two\nlines", "// odd"]),
)


def text_message(role: Role, contents: list[str], channel: str | None = None) -> Message:
    """A message of texts."""
    parts = [TextContent(text=text) for text in contents]
    return Message(author=Author(role=role), content=[*parts], channel=channel)


def characters(conversation: Conversation) -> Counter[str]:
    """Every character that is said behind the system message, without the newlines that join texts."""
    contents = [content for message in conversation.messages[1:] for content in message.content]
    said = (
        content.text if isinstance(content, TextContent) else content.to_dict()["instructions"]
        for content in contents
    )
    return Counter("".join(said).replace("\n", ""))


def exchange(recipient: str, arguments: str, result: list[str] | None) -> list[Message]:
    """A tool call, and its result unless it is None."""
    is_function = recipient.startswith("functions.")
    channel = "commentary" if is_function else "analysis"
    call = text_message(Role.ASSISTANT, [arguments], channel).with_recipient(recipient)
    call = call.with_content_type(JSON if is_function else "code")
    if result is None:
        return [call]
    answer = text_message(Role.TOOL, result, channel).with_recipient("assistant")
    answer.author.name = recipient
    return [call, answer]


recipients = st.one_of(
    function_names.map(lambda name: f"functions.{name}"),
    st.sampled_from(["python", "functions.python", "browser.search", "functions.odd.name"]),
)
exchanges = st.builds(exchange, recipients, st.just("") | texts, st.lists(texts, min_size=1, max_size=2))


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """What a user asks, and what the assistant makes of it; the end may be missing."""
    said = [text_message(Role.USER, draw(st.lists(texts, min_size=1, max_size=2)))]
    for calls in draw(st.lists(exchanges, max_size=3)):
        if draw(st.booleans()):
            said.append(text_message(Role.ASSISTANT, [draw(texts)], "analysis"))
        if draw(st.booleans()):
            said.append(text_message(Role.ASSISTANT, [draw(texts)], "commentary"))
        said += calls
    if draw(st.booleans()):
        said.append(text_message(Role.ASSISTANT, [draw(texts)], "analysis"))
    if draw(st.booleans()):
        said.append(text_message(Role.ASSISTANT, [draw(texts)], "final"))
    return said


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A system message, perhaps a developer message, and turns; developer messages may lie between."""
    effort = draw(st.none() | st.sampled_from(ReasoningEffort))
    system = SystemContent(reasoning_effort=effort, conversation_start_date=draw(st.none() | texts))
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    instructions, declared, stated = draw(st.none() | texts), draw(functions), draw(response_formats)
    if stated is not None:
        instructions = stated.appended_to(instructions)
    if instructions is not None or declared:
        developer = DeveloperContent(instructions=instructions)
        if declared:
            developer = developer.with_function_tools(declared)
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    for said in draw(st.lists(turns(), max_size=3)):
        messages += said
        if draw(st.integers(0, 4)) == 0:
            later = DeveloperContent(instructions=draw(texts))
            messages.append(Message.from_role_and_content(Role.DEVELOPER, later))
    return Conversation(messages=messages)
