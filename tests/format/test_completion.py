"""A completion, read in one call."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony import Fault, read_completion, to_chat_message

if TYPE_CHECKING:
    from tests.conftest import OpenAITypes

THOUGHT = "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant"
PREAMBLE = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
CALL = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}"
FINAL = "<|channel|>final<|message|>4"


def read(text: str) -> harmony.ParsedCompletion:
    """A completion written out, with ids call_id."""
    tokens = harmony.load_encoding().encode(text, allowed_special="all")
    return read_completion(tokens, new_id=lambda prefix: f"{prefix}_id")


def test_an_answer() -> None:
    """Reasoning and answer apart, nothing else, no faults."""
    completion = read(THOUGHT + FINAL + "<|return|>")
    assert (completion.reasoning, completion.commentary, completion.final) == ("Easy.", None, "4")
    assert completion.tool_calls == ()
    assert completion.ending == "return"
    assert completion.diagnostics == ()


def test_a_tool_call() -> None:
    """Its name, arguments and id; the preamble is commentary; there is no answer."""
    completion = read(THOUGHT + PREAMBLE + CALL + "<|call|>")
    assert (completion.reasoning, completion.commentary, completion.final) == ("Easy.", "I look.", None)
    assert completion.tool_calls == (
        harmony.ToolCall("call_id", name="f", arguments="{}", recipient="functions.f", complete=True),
    )
    assert completion.ending == "call"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("<|channel|>analysis to=python code", "python"),
        ("<|channel|>analysis to=browser.search code", "browser.search"),
        (" to=functions.f<|channel|>commentary", "f"),
        ("<|channel|>commentary to=f", "f"),
    ],
)
def test_calls_as_models_write_them(header: str, name: str) -> None:
    """Built-in tools keep their address; functions are found with and without their namespace."""
    (call,) = read(f"{header}<|message|>x<|call|>").tool_calls
    assert (call.name, call.arguments) == (name, "x")


def test_a_call_that_was_cut_off_is_kept() -> None:
    """It is not complete, and the completion has no ending."""
    completion = read(CALL)
    assert [call.complete for call in completion.tool_calls] == [False]
    assert completion.ending is None


def test_several_messages_on_one_channel_are_joined() -> None:
    """By newlines; the messages have them one by one."""
    completion = read(THOUGHT + THOUGHT + FINAL + "<|return|>")
    assert completion.reasoning == "Easy.\nEasy."
    assert [message.channel for message in completion.messages] == ["analysis", "analysis", "final"]


def test_an_unknown_channel_is_an_answer() -> None:
    """Text on no channel, or on one that does not exist, is not lost."""
    assert read("<|channel|>thoughts<|message|>x<|return|>").final == "x"
    assert read("<|message|>x<|return|>").final == "x"


def test_what_others_say_is_not_the_assistants() -> None:
    """A message that the model wrote for the user is not taken for the assistant's."""
    completion = read(FINAL + "<|end|><|start|>user<|message|>More!<|end|>")
    assert completion.final == "4"
    assert [message.author.role for message in completion.messages] == ["assistant"]
    assert len(completion.parsed_messages) == 2


def test_malformed_tokens_are_repaired_and_told() -> None:
    """A header without <|message|> keeps its text, with a diagnostic."""
    completion = read("<|channel|>final The answer.<|return|>")
    assert completion.final is not None
    assert "The answer." in completion.final
    assert [d.fault for d in completion.diagnostics] == [Fault.MESSAGE_MISSING]


def test_whole_messages_do_as_well() -> None:
    """With <|start|>assistant in front, as a rendered conversation has it."""
    assert read("<|start|>assistant" + FINAL + "<|return|>").final == "4"


def test_nothing_is_nothing() -> None:
    """No tokens say nothing."""
    completion = read("")
    assert (completion.reasoning, completion.commentary, completion.final) == (None, None, None)
    assert completion.ending is None
    assert to_chat_message(completion) == {"role": "assistant", "content": None}


def test_a_completion_is_a_value() -> None:
    """It cannot be changed, and two that are read alike are equal."""
    completion = read(THOUGHT + FINAL)
    assert completion == read(THOUGHT + FINAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        completion.diagnostics = ()  # type: ignore[misc]


def test_the_chat_message_has_the_ids_of_the_calls() -> None:
    """So that a result that comes back with an id is the call's."""
    completion = read(THOUGHT + PREAMBLE + CALL + "<|call|>")
    assert to_chat_message(completion) == {
        "role": "assistant",
        "content": "I look.",
        "reasoning": "Easy.",
        "reasoning_content": "Easy.",
        "tool_calls": [{"id": "call_id", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def test_the_real_client_takes_the_chat_message(openai_types: OpenAITypes) -> None:
    """As the message of a response."""
    message = to_chat_message(read(THOUGHT + PREAMBLE + CALL + "<|call|>"))
    openai_types.validate("chat", "ChatCompletionMessage", message)


@given(st.lists(st.integers(0, 50) | st.integers(200_000, 200_015) | st.integers(), max_size=30))
def test_no_tokens_raise(tokens: list[int]) -> None:
    """Whatever is sampled can be read and told to a chat client."""
    assert to_chat_message(read_completion(tokens))["role"] == "assistant"
