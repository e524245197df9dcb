"""Tokens become the messages that openai-harmony 0.0.8 reads, and the right ones where it misreads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from format_accounting import assert_every_token_is_accounted_for
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony import Author, Conversation, Fault, Message, Role, StreamableParser
from harmony.vocabulary import CHANNEL, CONSTRAIN, MESSAGE, START, STOP_TOKENS

if TYPE_CHECKING:
    from tests.conftest import Oracle

VECTORS = Path(__file__).with_name("vectors")
JSON = "<|constrain|>json"

Parsed = list[dict[str, Any]]


def vectors(name: str) -> list[dict[str, Any]]:
    """The recorded streams in a file."""
    return [json.loads(line) for line in (VECTORS / name).read_text().splitlines()]


def parse(
    encoding: harmony.HarmonyEncoding, tokens: list[int], role: str | None, *, strict: bool
) -> tuple[Parsed | harmony.ParseError, StreamableParser]:
    """What our parser makes of a whole stream, an error included, and the parser."""
    parser = StreamableParser(encoding, None if role is None else Role(role), strict=strict)
    try:
        for token in tokens:
            parser.process(token)
        parser.process_eos()
    except harmony.ParseError as error:
        return error, parser
    return [message.to_dict() for message in parser.messages], parser


def test_recorded_streams_parse_as_recorded(encoding: harmony.HarmonyEncoding) -> None:
    """Every recorded well-formed stream, in either header order, gives the recorded messages."""
    for vector in vectors("parse.jsonl"):
        parsed, parser = parse(encoding, vector["tokens"], vector["role"], strict=True)
        assert parsed == vector["messages"]
        assert parser.diagnostics == ()


def has_stray_token_in_header(tokens: list[int], position: int) -> bool:
    """Whether the token is one that the reference swallows although it has no place there."""
    token = tokens[position]
    return token in STOP_TOKENS or token == START or not 0 <= token < 199_998


def lone_words_as_types(parsed: Parsed) -> Parsed:
    """The messages with a recipient that looks like no address moved to the type of content."""
    return [
        {k: v for k, v in one.items() if k != "recipient"} | {"content_type": one["recipient"]}
        if "recipient" in one and "content_type" not in one and "." not in one["recipient"]
        else one
        for one in parsed
    ]


@pytest.mark.parametrize("vector", vectors("parse_any.jsonl"))
def test_any_recorded_stream_parses_as_recorded_or_better(
    encoding: harmony.HarmonyEncoding, vector: dict[str, Any]
) -> None:
    """Random streams give the reference's result, or differ for one of the reasons stated here."""
    tokens, reference = vector["tokens"], vector.get("messages")
    parsed, parser = parse(encoding, tokens, vector["role"], strict=vector["strict"])
    faults = {diagnostic.fault for diagnostic in parser.diagnostics}
    if not isinstance(parsed, harmony.ParseError):
        assert_every_token_is_accounted_for(parser)
    if vector["strict"] and reference is None:
        # The reference refuses: so do we, or we note why it can be read all the same.
        if isinstance(parsed, harmony.ParseError):
            assert 0 <= parsed.position <= len(tokens)
            return
        one_word_tool = any(one["role"] == "tool" and one["name"] for one in parsed)
        assert one_word_tool or faults & {Fault.END_MISSING, Fault.START_REPEATED, Fault.HEADER_UNFINISHED}
    elif isinstance(parsed, harmony.ParseError):
        # The reference reads a stop token, a second <|start|>, a reserved or an unknown id as text of the
        # header, or replaces an unknown id; we refuse.
        assert vector["strict"]
        assert has_stray_token_in_header(tokens, parsed.position)
    elif reference is None:
        # The reference raises even when it is not strict; we recover, say so, and keep all text.
        assert faults or not tokens
    elif parsed != reference:
        # The reference takes a lone word for the recipient, also if it is <|constrain|> glued to an address,
        # swallows the messages that follow a fault, or normalises the white space of recovered text.
        glued = "<|constrain|>to=" in "".join(one.get("recipient", "") for one in reference)
        assert parsed == lone_words_as_types(reference) or faults or glued


words = st.sampled_from(["functions.get_weather", "python", "browser.search", "functions.ツール", "a_b-1"])
texts = st.text(max_size=10) | st.sampled_from(["<|end|>", "<|start|>assistant", "to=x", " \n", "👩‍👩‍👧"])
assistant_messages = st.builds(
    Message,
    author=st.builds(Author, role=st.just(Role.ASSISTANT), name=st.none() | st.sampled_from(["bob", "Zoé"])),
    content=texts.map(lambda text: [harmony.TextContent(text=text)]),
    channel=st.sampled_from([None, "analysis", "commentary", "final"]),
    recipient=st.none() | words.filter(lambda word: word != "a_b-1"),
    content_type=st.sampled_from([None, "json", "code", "<|constrain|>json"]),
)
tool_messages = st.builds(
    Message,
    author=st.builds(Author, role=st.just(Role.TOOL), name=words),
    content=texts.map(lambda text: [harmony.TextContent(text=text)]),
    channel=st.sampled_from([None, "analysis", "commentary"]),
    recipient=st.sampled_from([None, "assistant"]),
)
user_messages = st.builds(
    Message,
    author=st.builds(Author, role=st.sampled_from([Role.USER, Role.SYSTEM, Role.DEVELOPER])),
    content=texts.map(lambda text: [harmony.TextContent(text=text)]),
)
conversations = st.lists(assistant_messages | tool_messages | user_messages, max_size=5).map(
    Conversation.from_messages
)


def sampled(encoding: harmony.HarmonyEncoding, said: Message) -> list[int]:
    """The message with its header in the order in which the model writes it."""
    rendered = encoding.render(said)
    body = rendered[rendered.index(MESSAGE) :]
    speaker = said.author.name if said.author.role == Role.TOOL else said.author.role.value
    if said.author.name is not None and said.author.role != Role.TOOL:
        speaker = f"{speaker}:{said.author.name}"
    header = [START, *encoding.encode(speaker or "")]
    if said.channel is not None:
        header += [CHANNEL, *encoding.encode(said.channel)]
    if said.recipient is not None:
        header += encoding.encode(f" to={said.recipient}")
    if said.content_type == JSON:
        header += [*encoding.encode(" "), CONSTRAIN, *encoding.encode("json")]
    elif said.content_type is not None:
        header += encoding.encode(f" {said.content_type}")
    return header + body


@given(conversations)
def test_rendered_conversations_parse_back(
    encoding: harmony.HarmonyEncoding, conversation: Conversation
) -> None:
    """Rendering and strict parsing give the conversation back, in both header orders."""
    rendered = [token for said in conversation for token in encoding.render(said)]
    written = [token for said in conversation for token in sampled(encoding, said)]
    for tokens in (rendered, written):
        assert encoding.parse_messages_from_completion_tokens(tokens) == conversation.messages


@given(conversations)
def test_well_formed_streams_parse_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, conversation: Conversation
) -> None:
    """Streams that the oracle does not misread give its messages, in both orders and both modes."""
    plain = [
        said
        for said in conversation
        if (said.recipient is not None or said.content_type is None)
        and (said.author.role != Role.TOOL or said.recipient is not None)
        and (said.author.role == Role.TOOL or said.author.name is None)
    ]
    for tokens in (
        [token for said in plain for token in encoding.render(said)],
        [token for said in plain for token in sampled(encoding, said)],
    ):
        for strict in (True, False):
            parsed, parser = parse(encoding, tokens, None, strict=strict)
            assert parsed == oracle.parse(tokens, strict=strict)
            assert parser.diagnostics == ()


def test_messages_with_the_same_header_have_authors_of_their_own(encoding: harmony.HarmonyEncoding) -> None:
    """A change to one message is seen in no other, neither of this stream nor of the next."""
    tokens = encoding.encode("<|start|>user:a<|message|>A<|end|>" * 2, allowed_special="all")
    first, second = encoding.parse_messages_from_completion_tokens(tokens)
    first.author.name = "b"
    assert second.author.name == "a"
    assert encoding.parse_messages_from_completion_tokens(tokens)[0].author.name == "a"
