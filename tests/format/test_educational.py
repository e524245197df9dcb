"""The educational twin and the package agree, each the oracle of the other, and the page holds."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from format_strategies import asking, conversations, sensible_schemas, written_messages
from hypothesis import given
from hypothesis import strategies as st

from harmony import (
    Conversation,
    HarmonyEncoding,
    Message,
    RenderConversationConfig,
    Role,
    TextContent,
    educational,
)
from harmony.numbers import number_text

if TYPE_CHECKING:
    from format_strategies import Order

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "format.md"


def with_plain_numbers(value: Any) -> Any:
    """The JSON value, in which 0 stands for each number that Python writes otherwise than the format."""
    match value:
        case dict():
            return {key: with_plain_numbers(member) for key, member in value.items()}
        case list():
            return [with_plain_numbers(member) for member in value]
        case int() | float() if not isinstance(value, bool):
            return value if number_text(value) == json.dumps(value) else 0
    return value


def in_plain_json(conversation: Conversation) -> dict[str, Any]:
    """The conversation as the twin takes it, after its numbers were made plain."""
    contents = (content for message in conversation for content in message.content)
    tools = (content.tools or {} for content in contents if not isinstance(content, TextContent))
    for namespace in (namespace for namespaces in tools for namespace in namespaces.values()):
        for tool in namespace.tools:
            tool.parameters = with_plain_numbers(tool.parameters)
    written: dict[str, Any] = json.loads(conversation.to_json())
    return written


@given(conversations, st.booleans())
def test_the_twin_renders_the_same_tokens(
    encoding: HarmonyEncoding, conversation: Conversation, drop: bool
) -> None:
    """All three renderings of any conversation give the same tokens."""
    written, config = in_plain_json(conversation), RenderConversationConfig(auto_drop_analysis=drop)
    assert educational.render(written, drop_analysis=drop) == encoding.render_conversation(
        conversation, config
    )
    assert educational.render_for_training(
        written, drop_analysis=drop
    ) == encoding.render_conversation_for_training(conversation, config)
    prompt = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT, config)
    assert educational.render(written, "assistant", drop_analysis=drop) == prompt


@given(sensible_schemas)
def test_the_twin_writes_the_same_types(encoding: HarmonyEncoding, schema: dict[str, Any]) -> None:
    """A function with any sensible schema gives the same tokens."""
    conversation = Conversation.from_messages([asking(schema)])
    assert educational.render(in_plain_json(conversation)) == encoding.render_conversation(conversation)


@given(written_messages)
def test_the_twin_parses_the_same_messages(
    encoding: HarmonyEncoding, written: list[tuple[Order, Message]]
) -> None:
    """Well-formed streams, in either header order, give the same messages."""
    tokens = [token for write, message in written for token in write(encoding, message)]
    parsed = encoding.parse_messages_from_completion_tokens(tokens)
    assert educational.parse(tokens) == [message.to_dict() for message in parsed]


@pytest.mark.parametrize("ending", ["<|return|>", "<|call|>", ""])
def test_the_twin_goes_on_after_a_given_role(encoding: HarmonyEncoding, ending: str) -> None:
    """A completion parses without the header that the prompt had begun, cut off or not."""
    stream = f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=python<|message|>1{ending}"
    tokens = encoding.encode(stream, allowed_special="all")
    parsed = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)
    assert educational.parse(tokens, "assistant") == [message.to_dict() for message in parsed]


def test_the_page_shows_what_its_programs_print() -> None:
    """docs/format.md, run from top to bottom, prints what stands below each program."""
    blocks = re.findall(
        r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", PAGE.read_text("utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {}
    for program, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "docs/format.md", "exec"), names)
        assert printed.getvalue() == shown
    assert len(blocks) > 15
