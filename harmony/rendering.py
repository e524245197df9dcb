"""Messages to tokens: the rules of the harmony format.

Every piece of a message is encoded by a call of its own, because the tokens of two pieces are not the
tokens of their concatenation. All text goes through the ordinary encoder, so that text which looks like
a special token never becomes one.

Source: https://github.com/openai/harmony, docs/format.md, and the behaviour of openai-harmony 0.0.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmony.errors import RenderError
from harmony.faithful import faithful_signature
from harmony.messages import (
    Author,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
    TextContent,
    as_rendered,
)
from harmony.signatures import function_signature, text_lines
from harmony.turns import DropRule, in_context
from harmony.vocabulary import CALL, CHANNEL, CONSTRAIN, CONSTRAIN_MARK, END, MESSAGE, RETURN, START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harmony.messages import AnyContent, SchemaProfile, ToolNamespaceConfig

    Encode = Callable[[str], Sequence[int]]


def render_messages(
    messages: Sequence[Message],
    encode: Encode,
    *,
    drop_analysis: bool,
    schema_profile: SchemaProfile = "exact",
) -> list[int]:
    """The tokens of a conversation; raises `RenderError` if the format cannot express it.

    With `drop_analysis` reasoning is left out as `DropRule.REFERENCE` says.
    """
    has_functions = any(declares_functions(message) for message in messages)
    kept = in_context(messages, DropRule.REFERENCE) if drop_analysis else messages
    tokens: list[int] = []
    for message in kept:
        tokens += render_message(message, encode, has_functions, schema_profile)
    return tokens


def render_for_training(
    messages: Sequence[Message],
    encode: Encode,
    *,
    drop_analysis: bool,
    schema_profile: SchemaProfile = "exact",
) -> list[int]:
    """As `render_messages`, with `<|return|>` as the last token if the assistant's final answer ends it."""
    tokens = render_messages(messages, encode, drop_analysis=drop_analysis, schema_profile=schema_profile)
    if messages and is_final_answer(messages[-1]):
        tokens[-1] = RETURN
    return tokens


def render_turn_start(role: Role, encode: Encode) -> list[int]:
    """The tokens after which the speaker of the next turn goes on."""
    return [START, *encode(role.value)]


def render_message(
    message: Message, encode: Encode, has_functions: bool, schema_profile: SchemaProfile = "exact"
) -> list[int]:
    """The tokens of one message: header, contents, end."""
    tokens = [START, *_render_author(message.author, encode)]
    if message.recipient is not None and message.recipient != "all":
        tokens += encode(f" to={message.recipient}")
    if message.channel is not None:
        tokens.append(CHANNEL)
        tokens += encode(message.channel)
    if message.content_type is not None:
        tokens += _render_content_type(message.content_type, encode)
    tokens.append(MESSAGE)
    for content in map(as_rendered, message.content):
        tokens += encode(_content_text(content, message.author.role, has_functions, schema_profile))
    tokens.append(CALL if _is_call(message) else END)
    return tokens


def _render_author(author: Author, encode: Encode) -> Sequence[int]:
    if author.role == Role.TOOL:
        if author.name is None:
            raise RenderError("A tool message has no name; give its author the name of the tool that speaks.")
        return encode(author.name)
    tokens = encode(author.role.value)
    return tokens if author.name is None else [*tokens, *encode(f":{author.name}")]


def _render_content_type(content_type: str, encode: Encode) -> Sequence[int]:
    if not content_type.startswith(CONSTRAIN_MARK):
        return encode(f" {content_type}")
    return [*encode(" "), CONSTRAIN, *encode(content_type.removeprefix(CONSTRAIN_MARK))]


def _is_call(message: Message) -> bool:
    return message.author.role == Role.ASSISTANT and message.recipient is not None


def is_final_answer(message: Message) -> bool:
    """Whether the assistant answers, so that it would sample `<|return|>` at its end."""
    return message.author.role == Role.ASSISTANT and message.channel == "final"


def declares_functions(message: Message) -> bool:
    """Whether it is one of those by which the system message tells where calls must go."""
    for content in message.content:
        if type(content) is TextContent:
            continue
        said = as_rendered(content)
        tools = said.tools if isinstance(said, DeveloperContent) else None
        if tools is not None and "functions" in tools and tools["functions"].tools:
            return True
    return False


def _content_text(content: AnyContent, role: Role, has_functions: bool, profile: SchemaProfile) -> str:
    match content:
        case TextContent():
            return content.text
        case SystemContent() if role == Role.SYSTEM:
            return _system_text(content, has_functions, profile)
        case DeveloperContent() if role == Role.DEVELOPER:
            return _developer_text(content, profile)
    raise RenderError(f"A message of the {role.value} cannot hold {type(content).__name__}; use TextContent.")


def _system_text(system: SystemContent, has_functions: bool, profile: SchemaProfile) -> str:
    facts = [
        line
        for line in (
            system.model_identity,
            _labelled("Knowledge cutoff", system.knowledge_cutoff),
            _labelled("Current date", system.conversation_start_date),
        )
        if line is not None
    ]
    sections = ["\n".join(facts)] if facts else []
    if system.reasoning_effort is not None:
        sections.append(f"Reasoning: {system.reasoning_effort.value.lower()}")
    if system.tools:
        sections.append(_tools_text(system.tools, profile))
    if system.channel_config is not None and system.channel_config.valid_channels:
        channels = f"# Valid channels: {', '.join(system.channel_config.valid_channels)}."
        if system.channel_config.channel_required:
            channels += " Channel must be included for every message."
        if has_functions:
            channels += "\nCalls to these tools must go to the commentary channel: 'functions'."
        sections.append(channels)
    return "\n\n".join(sections)


def _labelled(label: str, value: str | None) -> str | None:
    return None if value is None else f"{label}: {value}"


def _developer_text(developer: DeveloperContent, profile: SchemaProfile) -> str:
    sections = []
    if developer.instructions is not None:
        sections += ["# Instructions", developer.instructions]
    if developer.tools:
        sections.append(_tools_text(developer.tools, profile))
    return "\n\n".join(sections)


def _tools_text(namespaces: dict[str, ToolNamespaceConfig], profile: SchemaProfile) -> str:
    blocks = [_namespace_text(namespace, profile) for _, namespace in sorted(namespaces.items())]
    return "\n\n".join(["# Tools", *blocks])


def _namespace_text(namespace: ToolNamespaceConfig, profile: SchemaProfile) -> str:
    signature = faithful_signature if profile == "faithful" else function_signature
    lines = [f"## {namespace.name}\n"]
    margin = "// " if namespace.tools else ""
    lines += [margin + line for line in text_lines(namespace.description or "")]
    if namespace.tools:
        lines.append(f"namespace {namespace.name} {{\n")
        for tool in namespace.tools:
            lines += [f"// {line}" for line in text_lines(tool.description)]
            lines.append(f"{signature(tool.name, tool.parameters)}\n")
        lines.append(f"}} // namespace {namespace.name}")
    return "\n".join(lines)
