"""What a conversation is made of: messages, their authors and contents, and the tools they may name.

The names and meanings are those of openai-harmony 0.0.8. All `with_*` and `adding_*` methods change the
object and return it. `to_dict` and `to_json` write that package's JSON, which leaves out what is None;
`model_dump` and `model_dump_json` keep everything, and `model_validate` and `model_validate_json` read
it back.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter

from harmony.namespaces import browser_namespace, python_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"


class ReasoningEffort(StrEnum):
    """How long the model thinks before it answers."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Author(BaseModel):
    """A role, and the name of the tool if the role is `tool`."""

    role: Role
    name: str | None = None

    @classmethod
    def new(cls, role: Role, name: str) -> Self:
        return cls(role=role, name=name)


class ToolDescription(BaseModel):
    """One function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any] | None = None

    @classmethod
    def new(cls, name: str, description: str, parameters: dict[str, Any] | None = None) -> Self:
        return cls(name=name, description=description, parameters=parameters)


class ToolNamespaceConfig(BaseModel):
    """Functions that the model calls as `name.function`."""

    name: str
    description: str | None = None
    tools: list[ToolDescription]

    @staticmethod
    def browser() -> ToolNamespaceConfig:
        """The browser that gpt-oss was trained with: search, open and find."""
        return ToolNamespaceConfig.model_validate(browser_namespace())

    @staticmethod
    def python() -> ToolNamespaceConfig:
        """The Jupyter kernel that gpt-oss was trained with; the code itself is the argument."""
        return ToolNamespaceConfig.model_validate(python_namespace())


class ChannelConfig(BaseModel):
    """The channels that the assistant may speak on."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: list[str]) -> Self:
        return cls(valid_channels=channels, channel_required=True)


class Content(BaseModel):
    """One part of a message: `TextContent`, `SystemContent` or `DeveloperContent`."""

    def to_dict(self) -> dict[str, Any]:
        """This content as JSON, without what is None."""
        return self.model_dump(exclude_none=True)


class TextContent(Content):
    """Text as it stands."""

    type: Literal["text"] = Field(default="text", repr=False)
    text: str


class _ToolHoldingContent(Content):
    tools: dict[str, ToolNamespaceConfig] | None = None

    def with_tools(self, ns_config: ToolNamespaceConfig) -> Self:
        """Add a namespace, in place of one with the same name."""
        if self.tools is None:
            self.tools = {}
        self.tools[ns_config.name] = ns_config
        return self

    @classmethod
    def new(cls) -> Self:
        return cls()

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote; a missing field takes its default."""
        return cls.model_validate(raw)


class SystemContent(_ToolHoldingContent):
    """What the model is told about itself; None leaves a line out."""

    type: Literal["system_content"] = Field(default="system_content", repr=False)
    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channel_config: ChannelConfig | None = Field(
        default_factory=lambda: ChannelConfig.require_channels(["analysis", "commentary", "final"])
    )

    def with_model_identity(self, model_identity: str) -> Self:
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> Self:
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> Self:
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> Self:
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> Self:
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: list[str]) -> Self:
        return self.with_channel_config(ChannelConfig.require_channels(channels))

    def with_browser_tool(self) -> Self:
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> Self:
        return self.with_tools(ToolNamespaceConfig.python())


class DeveloperContent(_ToolHoldingContent):
    """What the application tells the model: instructions, and functions that it may call."""

    type: Literal["developer_content"] = Field(default="developer_content", repr=False)
    instructions: str | None = None

    def with_instructions(self, instructions: str) -> Self:
        self.instructions = instructions
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> Self:
        """Set the functions of the namespace `functions`."""
        return self.with_tools(ToolNamespaceConfig(name="functions", tools=list(tools)))


AnyContent = Annotated[TextContent | SystemContent | DeveloperContent, Field(discriminator="type")]

_contents: TypeAdapter[list[AnyContent]] = TypeAdapter(list[AnyContent])


class Message(BaseModel):
    """What one author says, on a channel, to a recipient.

    >>> Message.from_role_and_content(Role.USER, "hi").content[0]
    TextContent(text='hi')
    """

    author: Author
    content: list[AnyContent] = Field(default_factory=list)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | AnyContent) -> Self:
        return cls(author=author, content=[_as_content(content)])

    @classmethod
    def from_role_and_content(cls, role: Role, content: str | AnyContent) -> Self:
        return cls.from_author_and_content(Author(role=role), content)

    @classmethod
    def from_role_and_contents(cls, role: Role, contents: Sequence[AnyContent]) -> Self:
        return cls(author=Author(role=role), content=list(contents))

    def adding_content(self, content: str | AnyContent) -> Self:
        self.content.append(_as_content(content))
        return self

    def with_channel(self, channel: str) -> Self:
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Self:
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Self:
        self.content_type = content_type
        return self

    def to_dict(self) -> dict[str, Any]:
        """This message as flat JSON: role, name, content, and the header fields that are not None."""
        header = {"channel": self.channel, "recipient": self.recipient, "content_type": self.content_type}
        return {
            "role": self.author.role,
            "name": self.author.name,
            "content": [content.to_dict() for content in self.content],
            **{field: value for field, value in header.items() if value is not None},
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote; the content may also be a plain string.

        Raises `ValueError` for an unknown role or type of content.
        """
        content = data["content"]
        parts = [TextContent(text=content)] if isinstance(content, str) else content
        return cls(
            author=Author(role=Role(data["role"]), name=data.get("name")),
            content=_contents.validate_python(parts),
            channel=data.get("channel"),
            recipient=data.get("recipient"),
            content_type=data.get("content_type"),
        )


class Conversation(BaseModel):
    """Messages, in the order in which they were said."""

    messages: list[Message] = Field(default_factory=list)

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Self:
        return cls(messages=list(messages))

    def __iter__(self) -> Iterator[Message]:  # type: ignore[override]  # pydantic iterates over fields
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        return {"messages": [message.to_dict() for message in self.messages]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(messages=[Message.from_dict(message) for message in json.loads(payload)["messages"]])


class RenderConversationConfig(BaseModel):
    """Whether finished reasoning is left out when a conversation is rendered."""

    auto_drop_analysis: bool = True


class RenderOptions(BaseModel):
    """What one message, rendered alone, cannot know of its conversation."""

    conversation_has_function_tools: bool = False


def _as_content(content: str | AnyContent) -> AnyContent:
    return TextContent(text=content) if isinstance(content, str) else content
