"""Messages have the names, the JSON and the manners of openai-harmony, and serialise without loss."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from harmony import (
    Author,
    ChannelConfig,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)

if TYPE_CHECKING:
    from tests.conftest import Oracle


@pytest.fixture
def conversation() -> Conversation:
    """A conversation that uses every kind of content and every field."""
    tool = ToolDescription.new("f", "Does it.", {"type": "object", "properties": {"a": {"default": None}}})
    return Conversation.from_messages(
        [
            Message.from_role_and_content(Role.SYSTEM, SystemContent.new().with_python_tool()),
            Message.from_role_and_content(
                Role.SYSTEM, SystemContent(model_identity=None, channel_config=None, knowledge_cutoff=None)
            ),
            Message.from_role_and_content(
                Role.DEVELOPER,
                DeveloperContent.new().with_instructions("Be kind.").with_function_tools([tool]),
            ),
            Message.from_role_and_contents(Role.USER, [TextContent(text="a"), TextContent(text="b")]),
            Message.from_author_and_content(Author.new(Role.TOOL, "functions.f"), "{}")
            .with_channel("commentary")
            .with_recipient("assistant")
            .with_content_type("json"),
        ]
    )


def test_json_is_that_of_the_oracle(oracle: Oracle, conversation: Conversation) -> None:
    """Read back by openai-harmony, to_json gives the same dictionary as when we read it back."""
    payload = conversation.to_json()
    theirs = oracle.module.Conversation.from_json(payload)
    assert theirs.to_dict() == Conversation.from_json(payload).to_dict()


@pytest.mark.parametrize("namespace", ["browser", "python"])
def test_the_built_in_namespaces_are_those_of_the_oracle(oracle: Oracle, namespace: str) -> None:
    """The texts that the model was trained on are exact."""
    ours = getattr(ToolNamespaceConfig, namespace)().model_dump()
    assert ours == getattr(oracle.module.ToolNamespaceConfig, namespace)().model_dump()


def test_the_built_in_namespaces_are_fresh() -> None:
    """Changing one copy of a built-in namespace does not change the next."""
    first = ToolNamespaceConfig.browser()
    assert first.tools[0].parameters is not None
    first.tools[0].parameters["properties"].clear()
    assert ToolNamespaceConfig.browser() != first


def test_pydantic_json_keeps_all_content(conversation: Conversation) -> None:
    """model_dump_json and model_dump, read back, give an equal conversation."""
    assert Conversation.model_validate_json(conversation.model_dump_json()) == conversation
    assert Conversation.model_validate(conversation.model_dump()) == conversation


def test_pickle_keeps_everything(conversation: Conversation) -> None:
    """A pickled conversation comes back equal."""
    assert pickle.loads(pickle.dumps(conversation)) == conversation


def test_plain_strings_are_text_content() -> None:
    """from_dict takes the content as a string too."""
    message = Message.from_dict({"role": "user", "content": "hi"})
    assert message == Message.from_role_and_content(Role.USER, "hi")
    assert message.adding_content("!").content[1:] == [TextContent(text="!")]


@pytest.mark.parametrize(
    "data", [{"role": "robot", "content": "hi"}, {"role": "user", "content": [{"type": "image"}]}]
)
def test_unknown_roles_and_contents_are_refused(data: dict[str, object]) -> None:
    """from_dict raises ValueError for a role or a type of content that does not exist."""
    with pytest.raises(ValueError, match=r"robot|image"):
        Message.from_dict(data)


def test_builders_change_the_object_and_return_it() -> None:
    """Every with_ method of the system content returns the same, changed object."""
    system = SystemContent.new()
    channels = ChannelConfig(valid_channels=["final"], channel_required=False)
    assert (
        system.with_model_identity("I").with_knowledge_cutoff("2025").with_channel_config(channels) is system
    )
    assert system.with_reasoning_effort(ReasoningEffort.HIGH).with_conversation_start_date("today") is system
    assert system == SystemContent(
        model_identity="I",
        reasoning_effort=ReasoningEffort.HIGH,
        conversation_start_date="today",
        knowledge_cutoff="2025",
        channel_config=channels,
    )
    assert list(system.with_browser_tool().with_python_tool().tools or ()) == ["browser", "python"]
    assert system.with_required_channels(["final"]).channel_config == ChannelConfig.require_channels(
        ["final"]
    )


def test_a_conversation_iterates_over_its_messages(conversation: Conversation) -> None:
    """Iteration gives the messages, not pydantic's fields."""
    assert [*conversation] == conversation.messages


@pytest.mark.parametrize("value", [5, ["final"], {}])
def test_an_attribute_refuses_what_it_cannot_hold(value: Any) -> None:
    """Builders and assignments raise ValueError at once, and change nothing."""
    message = Message.from_role_and_content(Role.USER, "hi")
    with pytest.raises(ValueError, match="channel"):
        message.with_channel(value)
    with pytest.raises(ValueError, match="recipient"):
        message.recipient = value
    assert message == Message.from_role_and_content(Role.USER, "hi")


def test_assigned_strings_become_members_of_enums() -> None:
    """A role or an effort may be assigned by its value, as it may be given to the constructor."""
    author = Author(role=Role.USER)
    author.role = "assistant"  # type: ignore[assignment]
    assert author.role is Role.ASSISTANT
    system = SystemContent.new().with_reasoning_effort("High")  # type: ignore[arg-type]
    assert system.reasoning_effort is ReasoningEffort.HIGH
