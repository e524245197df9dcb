"""Conversations become the tokens that openai-harmony 0.0.8 makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from format_strategies import conversations, faulty_messages, messages
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony import (
    Author,
    Conversation,
    DeveloperContent,
    Message,
    RenderConversationConfig,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Oracle

FUNCTIONS = ("render_conversation", "render_conversation_for_training", "render_conversation_for_completion")
VECTORS = Path(__file__).with_name("vectors") / "render.jsonl"


def render(
    encoding: harmony.HarmonyEncoding, function: str, conversation: Conversation, *, drop: bool
) -> list[int]:
    """What the named method of our encoding gives."""
    method: Callable[..., list[int]] = getattr(encoding, function)
    turn = {"next_turn_role": Role.ASSISTANT} if function.endswith("completion") else {}
    return method(conversation, config=RenderConversationConfig(auto_drop_analysis=drop), **turn)


def test_recorded_conversations_render_as_recorded(encoding: harmony.HarmonyEncoding) -> None:
    """Every recorded conversation gives the recorded tokens."""
    for line in VECTORS.read_text().splitlines():
        vector = json.loads(line)
        conversation = Conversation.from_json(json.dumps(vector["conversation"]))
        drop = vector["auto_drop_analysis"]
        assert render(encoding, vector["fn"], conversation, drop=drop) == vector["tokens"]


@given(conversations, st.sampled_from(FUNCTIONS), st.booleans())
def test_any_conversation_renders_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, conversation: Conversation, function: str, drop: bool
) -> None:
    """All three functions give the oracle's tokens, with and without dropping analysis."""
    expected = oracle.render(function, conversation, drop=drop)
    assert render(encoding, function, conversation, drop=drop) == expected


@given(messages, st.booleans())
def test_any_message_renders_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, message: Message, has_functions: bool
) -> None:
    """A message rendered alone gives the oracle's tokens."""
    options = RenderOptions(conversation_has_function_tools=has_functions)
    expected = oracle.render_message(message, has_functions=has_functions)
    assert encoding.render(message, options) == expected


@given(conversations, faulty_messages, st.integers(0, 6), st.sampled_from(FUNCTIONS))
def test_what_the_oracle_refuses_is_refused(
    encoding: harmony.HarmonyEncoding,
    oracle: Oracle,
    conversation: Conversation,
    faulty: Message,
    place: int,
    function: str,
) -> None:
    """One fault, anywhere: both refuse, and ours is an error of every class that the oracle raises."""
    conversation.messages.insert(place, faulty)
    with pytest.raises((RuntimeError, ValueError)) as refused:
        oracle.render(function, conversation, drop=False)
    its_class = RuntimeError if isinstance(refused.value, RuntimeError) else ValueError
    with pytest.raises(its_class) as raised:
        render(encoding, function, conversation, drop=False)
    assert isinstance(raised.value, harmony.RenderError)
    assert "\n" not in str(raised.value)


def test_analysis_is_dropped_unless_asked_for(encoding: harmony.HarmonyEncoding) -> None:
    """Without a config, finished analysis is left out of all three functions."""
    thought = Message.from_role_and_content(Role.ASSISTANT, "hm").with_channel("analysis")
    answer = Message.from_role_and_content(Role.ASSISTANT, "yes").with_channel("final")
    both, one = Conversation(messages=[thought, answer]), Conversation(messages=[answer])
    assert encoding.render_conversation(both) == encoding.render_conversation(one)
    assert encoding.render_conversation_for_training(both)[-1] == 200_002
    assert encoding.render_conversation_for_completion(both, Role.ASSISTANT)[-2:] == [200_006, 173_781]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Message.from_role_and_content(Role.TOOL, "x"), "no name"),
        (Message.from_role_and_content(Role.USER, SystemContent.new()), "cannot hold SystemContent"),
        (Message.from_role_and_content(Role.SYSTEM, DeveloperContent.new()), "cannot hold DeveloperContent"),
        (Message.from_role_and_content(Role.USER, TextContent.model_construct(text="\ud800")), "surrogate"),
    ],
)
def test_what_the_format_cannot_express_is_refused(
    encoding: harmony.HarmonyEncoding, message: Message, problem: str
) -> None:
    """A tool without a name, content in the wrong role and lone surrogates raise RenderError."""
    with pytest.raises(harmony.RenderError, match=problem):
        encoding.render_conversation(Conversation(messages=[message]))


def test_content_of_an_unknown_class_is_refused(encoding: harmony.HarmonyEncoding) -> None:
    """A class of one's own whose to_dict writes no known content raises RenderError and is named."""

    class Image(harmony.Content):
        url: str

    message = Message(author=Author(role=Role.USER), content=[Image(url="x")])  # type: ignore[list-item]
    with pytest.raises(harmony.RenderError, match="Image"):
        encoding.render(message)


def test_a_pair_of_surrogates_is_a_character(encoding: harmony.HarmonyEncoding) -> None:
    """Two surrogates that make a pair render as the character they encode, as through JSON."""
    pair = TextContent.model_construct(type="text", text="\ud83d\ude00")
    rendered = encoding.render(Message.from_role_and_content(Role.USER, pair))
    assert rendered == encoding.render(Message.from_role_and_content(Role.USER, "😀"))


@given(st.lists(st.sampled_from(["<|start|>", "<|end|>", "<|call|>", "<|message|>", "x"])).map("".join))
def test_text_never_becomes_a_special_token(encoding: harmony.HarmonyEncoding, text: str) -> None:
    """Text that spells special tokens, in any field, adds none to the frame of the message."""
    author = Author(role=Role.ASSISTANT, name=text)
    message = Message.from_author_and_content(author, text).with_channel(text).with_recipient(text)
    special = [token for token in encoding.render(message) if encoding.is_special_token(token)]
    assert special == [200_006, 200_005, 200_008, 200_012]


def test_a_message_that_changed_is_rendered_anew(encoding: harmony.HarmonyEncoding, oracle: Oracle) -> None:
    """Texts are remembered, messages are not; and the tokens belong to who asked for them."""
    developer = DeveloperContent.new().with_instructions("one")
    message = Message.from_role_and_content(Role.DEVELOPER, developer)
    encoding.render(message).clear()
    assert encoding.render(message) == oracle.render_message(message)
    developer.with_instructions("two").with_function_tools([ToolDescription.new("f", "A function.")])
    message.with_channel("final").adding_content("more")
    assert encoding.render(message) == oracle.render_message(message)
