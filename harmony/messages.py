"""What a conversation is made of: messages, their authors and contents, and the tools they may name.

The names and meanings are those of openai-harmony 0.0.8. All `with_*` and `adding_*` methods change the
object and return it; like every assignment, they raise `ValueError` for what an attribute cannot hold.
`to_dict` and `to_json` write that package's JSON, which leaves out what is None; `model_dump` and
`model_dump_json` keep everything, and `model_validate` and `model_validate_json` read it back.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)

from harmony.errors import RenderError
from harmony.namespaces import browser_namespace, python_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Role(str, Enum):  # noqa: UP042 - printed as openai-harmony prints it
    """Who speaks; a string, though `str()` gives `Role.USER` and `value` gives `user`."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"


class ReasoningEffort(str, Enum):  # noqa: UP042 - printed as openai-harmony prints it
    """How long the model thinks before it answers."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class _Model(BaseModel):
    model_config = ConfigDict(validate_assignment=True)


class Author(_Model):
    """A role, and the name of the tool if the role is `tool`."""

    role: Role
    name: str | None = None

    @classmethod
    def new(cls, role: Role, name: str) -> Self:
        """The author of a role and a name, such as a tool."""
        return cls(role=role, name=name)


class ToolDescription(_Model):
    """One function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any] | None = None

    @classmethod
    def new(cls, name: str, description: str, parameters: dict[str, Any] | None = None) -> Self:
        """A function; without `parameters` it takes none."""
        return cls(name=name, description=description, parameters=parameters)


class ToolNamespaceConfig(_Model):
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


class ChannelConfig(_Model):
    """The channels that the assistant may speak on."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: list[str]) -> Self:
        """Every message has to name one of these channels."""
        return cls(valid_channels=channels, channel_required=True)


class Content(_Model):
    """One part of a message: `TextContent`, `SystemContent` or `DeveloperContent`.

    A class of your own renders as the one of these that its `to_dict` writes.
    """

    def to_dict(self) -> dict[str, Any]:
        """This content as JSON, without what is None."""
        return self.model_dump(exclude_none=True)


class TextContent(Content):
    """Text as it stands."""

    type: Literal["text"] = Field(default="text", repr=False)
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, "text": self.text}


class _ToolHoldingContent(Content):
    if TYPE_CHECKING:  # each class declares it, so that its fields stand in the order of openai-harmony
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

    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channel_config: ChannelConfig | None = Field(
        default_factory=lambda: ChannelConfig.require_channels(["analysis", "commentary", "final"])
    )
    tools: dict[str, ToolNamespaceConfig] | None = None
    type: Literal["system_content"] = Field(default="system_content", repr=False)

    def with_model_identity(self, model_identity: str) -> Self:
        """Say who the model is; changes this content, as every `with_` does, and returns it."""
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> Self:
        """Say how long to think."""
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> Self:
        """Say what day it is, as in 2025-06-28."""
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> Self:
        """Say up to when the model knows, as in 2024-06."""
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> Self:
        """Say which channels there are."""
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: list[str]) -> Self:
        """Every message has to name one of these channels."""
        return self.with_channel_config(ChannelConfig.require_channels(channels))

    def with_browser_tool(self) -> Self:
        """Offer the browser that the model was trained with."""
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> Self:
        """Offer the python session that the model was trained with."""
        return self.with_tools(ToolNamespaceConfig.python())


class DeveloperContent(_ToolHoldingContent):
    """What the application tells the model: instructions, and functions that it may call."""

    instructions: str | None = None
    tools: dict[str, ToolNamespaceConfig] | None = None
    type: Literal["developer_content"] = Field(default="developer_content", repr=False)

    def with_instructions(self, instructions: str) -> Self:
        """Say what the model is to do; changes this content and returns it."""
        self.instructions = instructions
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> Self:
        """Set the functions of the namespace `functions`."""
        return self.with_tools(ToolNamespaceConfig(name="functions", tools=list(tools)))


_KINDS = (TextContent, SystemContent, DeveloperContent)


def _keep_content(value: object, validate: Callable[[object], Content]) -> Content:
    return value if isinstance(value, Content) else validate(value)


AnyContent = Annotated[
    SerializeAsAny[Annotated[TextContent | SystemContent | DeveloperContent, Field(discriminator="type")]],
    WrapValidator(_keep_content),
]

_contents: TypeAdapter[list[AnyContent]] = TypeAdapter(list[AnyContent])


def as_rendered(content: AnyContent) -> AnyContent:
    """The content itself, or the one that an object of your own class writes in its `to_dict`.

    Raises `RenderError` if that is none.
    """
    if type(content) in _KINDS:
        return content
    try:
        return _contents.validate_python([content.to_dict()])[0]
    except ValidationError as error:
        raise RenderError(
            f"What {type(content).__name__}.to_dict() writes is no content; let its type be 'text', "
            "'system_content' or 'developer_content', with the fields of that."
        ) from error


class Message(_Model):
    """What one author says, on a channel, to a recipient.

    >>> Message.from_role_and_content(Role.USER, "hi").content[0]
    TextContent(text='hi')
    """

    author: Author
    content: list[AnyContent] = Field(default_factory=list)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @property
    def text(self) -> str:
        """The text of its contents; what is no text says nothing here."""
        return "".join(content.text for content in self.content if isinstance(content, TextContent))

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | AnyContent) -> Self:
        """A message of one content; text becomes a `TextContent`."""
        return cls(author=author, content=[_as_content(content)])

    @classmethod
    def from_role_and_content(cls, role: Role, content: str | AnyContent) -> Self:
        """A message of one content, by a nameless author; text becomes a `TextContent`."""
        return cls.from_author_and_content(Author(role=role), content)

    @classmethod
    def from_role_and_contents(cls, role: Role, contents: Sequence[AnyContent]) -> Self:
        """A message of several contents, by a nameless author."""
        return cls(author=Author(role=role), content=list(contents))

    def adding_content(self, content: str | AnyContent) -> Self:
        """Add content at the end; changes this message and returns it."""
        self.content.append(_as_content(content))
        return self

    def with_channel(self, channel: str) -> Self:
        """Put it on a channel; changes this message, as every `with_` does, and returns it."""
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Self:
        """Say whom it is for."""
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Self:
        """Say what its content is, as in `<|constrain|>json`."""
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
        """What `to_dict` gives, as text."""
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


class Conversation(_Model):
    """Messages, in the order in which they were said."""

    messages: list[Message] = Field(default_factory=list)

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Self:
        """A conversation of these messages, in their order."""
        return cls(messages=list(messages))

    def __iter__(self) -> Iterator[Message]:  # type: ignore[override]  # pydantic iterates over fields
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """The messages as JSON, each as its `to_dict` writes it."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def to_json(self) -> str:
        """What `to_dict` gives, as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(messages=[Message.from_dict(message) for message in json.loads(payload)["messages"]])


SchemaProfile = Literal["exact", "faithful"]
"""How the schemas of functions are written: as openai-harmony does, or with all that they say."""


class RenderConversationConfig(_Model):
    """Whether finished reasoning is left out of a conversation, and how its functions are written."""

    auto_drop_analysis: bool = True
    schema_profile: SchemaProfile = "exact"


class RenderOptions(_Model):
    """What one message, rendered alone, cannot know of its conversation."""

    conversation_has_function_tools: bool = False
    schema_profile: SchemaProfile = "exact"


def _as_content(content: str | AnyContent) -> AnyContent:
    return TextContent(text=content) if isinstance(content, str) else content
