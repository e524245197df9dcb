"""The parser reads token by token, repairs what it can, and says what it did."""

from __future__ import annotations

import contextlib
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from format_accounting import assert_every_token_is_accounted_for
from format_strategies import roles, streams
from hypothesis import given
from hypothesis import strategies as st

import harmony
from harmony import Fault, ParseError, Role, StreamableParser, StreamState
from harmony.vocabulary import ordinary_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Oracle

BYTES = {piece[0]: token for token, piece in enumerate(ordinary_tokens()[:256])}
"""The token of each single byte."""

TOOL_CALL = (
    "<|channel|>analysis<|message|>Hm 🤖.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
    '<|constrain|>json<|message|>{"a": "日本"}<|call|><|start|>functions.f to=assistant<|channel|>commentary'
    "<|message|>1<|end|><|start|>assistant<|channel|>final<|message|>Done"
)


def read(
    encoding: harmony.HarmonyEncoding,
    stream: str | list[int],
    role: Role | None = None,
    *,
    strict: bool = True,
) -> StreamableParser:
    """A parser that has read a whole stream."""
    tokens = encoding.encode(stream, allowed_special="all") if isinstance(stream, str) else stream
    parser = StreamableParser(encoding, role, strict=strict)
    for token in tokens:
        parser.process(token)
    return parser.process_eos()


def advance(parser: StreamableParser, tokens: list[int]) -> StreamableParser:
    """The parser, which has read these tokens too."""
    for token in tokens:
        parser.process(token)
    return parser


def seen(parser: StreamableParser) -> dict[str, Any]:
    """All that a parser tells."""
    names = [name for name, value in vars(StreamableParser).items() if isinstance(value, property)]
    return {name: copy.deepcopy(getattr(parser, name)) for name in names}


def outcome(
    parser: StreamableParser, tokens: list[int] | None, *, at_once: bool = False
) -> tuple[str | None, dict[str, Any]]:
    """The error with which a parser reads tokens, or the end of the stream, and all that it tells then."""
    error = None
    try:
        if tokens is None:
            parser.process_eos()
        elif at_once:
            parser.process_all(tokens)
        else:
            advance(parser, tokens)
    except ParseError as raised:
        error = str(raised)
    return error, seen(parser)


def repaired(parser: StreamableParser) -> list[Fault]:
    """The faults that a parser repaired, in order."""
    return [diagnostic.fault for diagnostic in parser.diagnostics]


def test_the_state_is_the_oracles_at_every_token(encoding: harmony.HarmonyEncoding, oracle: Oracle) -> None:
    """While a well-formed stream arrives, each property has the oracle's value."""
    ours = StreamableParser(encoding, Role.ASSISTANT)
    theirs = oracle.module.StreamableParser(oracle.encoding, oracle.module.Role.ASSISTANT)
    properties = ("role", "channel", "recipient", "content_type", "content")
    for token in encoding.encode(TOOL_CALL, allowed_special="all"):
        assert ours.process(token) is ours
        theirs.process(token)
        for name in properties:
            assert getattr(ours, f"current_{name}") == getattr(theirs, f"current_{name}")
        assert ours.last_content_delta == theirs.last_content_delta
        assert ours.state.value == theirs.state.value
        # Of the content, the oracle gives a new encoding of the text so far, we the tokens as sampled.
        for field in ("state", "header", "header_tokens"):
            assert ours.state_data.get(field) == theirs.state_data.get(field)
        assert ours.tokens == theirs.tokens
    ours.process_eos()
    theirs.process_eos()
    assert [m.to_dict() for m in ours.messages] == [m.to_dict() for m in theirs.messages]
    assert ours.state == StreamState.EXPECT_START


def test_each_message_knows_its_end_and_its_tokens(encoding: harmony.HarmonyEncoding) -> None:
    """parsed_messages tells which token ended a message and which tokens it is."""
    parser = read(encoding, TOOL_CALL, Role.ASSISTANT)
    assert [parsed.ending for parsed in parser.parsed_messages] == ["end", "call", "end", None]
    assert [token for parsed in parser.parsed_messages for token in parsed.span] == [
        *range(len(parser.tokens))
    ]
    answer = parser.parsed_messages[-1]
    assert encoding.decode([parser.tokens[i] for i in answer.span]).endswith("<|message|>Done")


@given(streams, roles)
def test_a_lenient_parser_takes_anything_and_loses_no_text(
    encoding: harmony.HarmonyEncoding, tokens: list[int], role: Role | None
) -> None:
    """No list of ints raises, every token is accounted for, and the deltas make up the texts."""
    parser = StreamableParser(encoding, role, strict=False)
    streamed = ""
    for token in tokens:
        streamed += parser.process(token).last_content_delta or ""
    streamed += parser.process_eos().last_content_delta or ""
    parsed = [message.to_dict() for message in parser.messages]
    assert streamed == "".join(message["content"][0]["text"] for message in parsed)
    assert parser.tokens == tokens
    assert_every_token_is_accounted_for(parser)


@given(streams, roles)
def test_a_strict_parser_raises_or_agrees_with_a_lenient_one(
    encoding: harmony.HarmonyEncoding, tokens: list[int], role: Role | None
) -> None:
    """What strict parsing accepts, lenient parsing reads in the same way."""
    error, strict = None, StreamableParser(encoding, role)
    try:
        for token in tokens:
            strict.process(token)
        strict.process_eos()
    except ParseError as raised:
        error = raised
    lenient = read(encoding, tokens, role, strict=False)
    if error is None:
        assert_every_token_is_accounted_for(strict)
        assert strict.parsed_messages == lenient.parsed_messages
        assert strict.diagnostics == lenient.diagnostics
    else:
        refused = lenient.diagnostics[len(strict.diagnostics)]
        assert error.position == refused.position
        assert str(refused.fault) in str(error)


@given(st.text(), st.binary(max_size=8))
def test_deltas_make_up_the_decoded_text(encoding: harmony.HarmonyEncoding, text: str, noise: bytes) -> None:
    """Character by character or not, valid UTF-8 or not, the deltas are the text of all bytes."""
    by_bytes = {piece: token for token, piece in enumerate(encoding.token_bytes[:256])}
    content = [by_bytes[bytes([b])] for b in text.encode() + noise]
    parser = StreamableParser(encoding, Role.ASSISTANT)
    deltas = [parser.process(token).last_content_delta or "" for token in [200_008, *content, 200_007]]
    assert "".join(deltas) == (text.encode() + noise).decode(errors="replace")
    assert parser.messages[0].to_dict()["content"][0]["text"] == "".join(deltas)


@given(streams, roles)
def test_the_content_grows_by_the_deltas(
    encoding: harmony.HarmonyEncoding, tokens: list[int], role: Role | None
) -> None:
    """Read at every token, the content is the deltas so far, and what was read before does not change."""
    parser = StreamableParser(encoding, role, strict=False)
    read: list[tuple[str, str]] = []
    deltas: list[str] = []
    for token in tokens:
        began = parser.state is not StreamState.CONTENT
        parser.process(token)
        deltas = [*([] if began else deltas), parser.last_content_delta or ""]
        if parser.state is StreamState.CONTENT:
            read.append((parser.current_content, "".join(deltas)))
    assert all(content == expected for content, expected in read)


@given(streams, streams, roles, st.booleans())
def test_tokens_at_once_are_tokens_one_by_one(
    encoding: harmony.HarmonyEncoding, first: list[int], second: list[int], role: Role | None, strict: bool
) -> None:
    """For any tokens, process_all() leaves a parser as process() does, and raises where that raises."""
    one_by_one = StreamableParser(encoding, role, strict=strict)
    at_once = StreamableParser(encoding, role, strict=strict)
    for tokens in (first, second):
        assert outcome(at_once, tokens, at_once=True) == outcome(one_by_one, tokens)
    assert outcome(at_once, None) == outcome(one_by_one, None)


def test_half_a_character_is_held_back(encoding: harmony.HarmonyEncoding) -> None:
    """A delta comes once a character is whole; what is left at the end comes with the end."""
    first, second = encoding.encode("🤖", disallowed_special=())
    parser = StreamableParser(encoding, Role.ASSISTANT).process(200_008)
    assert parser.process(first).last_content_delta is None
    assert parser.process(second).last_content_delta == "🤖"
    assert parser.process(first).last_content_delta is None
    assert parser.process(200_007).last_content_delta == "\ufffd"
    assert repaired(parser) == [Fault.UTF8_INVALID]


def test_a_diagnostic_shows_where_and_what(encoding: harmony.HarmonyEncoding) -> None:
    """It has the position, the tokens and what was assumed, and cannot be changed."""
    parser = read(encoding, "<|message|>A<|end|>\n", Role.ASSISTANT, strict=False)
    (diagnostic,) = parser.diagnostics
    assert (diagnostic.position, diagnostic.tokens, diagnostic.assumed) == (3, (198,), "ignored it")
    with pytest.raises(AttributeError):
        diagnostic.position = 0  # type: ignore[misc]


def test_a_strict_parser_can_go_on_after_an_error(encoding: harmony.HarmonyEncoding) -> None:
    """After a ParseError the next <|start|> begins a message, with nothing left of the broken one."""
    parser = StreamableParser(encoding, Role.ASSISTANT)
    with pytest.raises(ParseError):
        parser.process(200_007)
    for token in encoding.encode("<|start|>user<|message|>A<|end|>", allowed_special="all"):
        parser.process(token)
    assert [message.author.role for message in parser.messages] == [Role.USER]


DUPLICATES = [copy.copy, copy.deepcopy, lambda parser: pickle.loads(pickle.dumps(parser))]


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_parser_can_be_copied(
    encoding: harmony.HarmonyEncoding, duplicate: Callable[[StreamableParser], Any]
) -> None:
    """A copy goes on by itself, and the original does not notice."""
    parser = StreamableParser(encoding, Role.ASSISTANT).process(200_008).process(24_912)
    branch = duplicate(parser).process(24_912).process_eos()
    assert parser.current_content == "hello"
    assert branch.messages[0].content[0].text == "hellohello"


@pytest.mark.parametrize("duplicate", DUPLICATES)
@given(streams, streams, streams, roles)
def test_a_copy_made_anywhere_reads_on_as_the_original_would(
    encoding: harmony.HarmonyEncoding,
    duplicate: Callable[[StreamableParser], StreamableParser],
    before: list[int],
    after: list[int],
    other: list[int],
    role: Role | None,
) -> None:
    """In the middle of a header, a message or a character, both go on, and neither disturbs the other."""
    parser = advance(StreamableParser(encoding, role, strict=False), before)
    branch = duplicate(parser)
    assert seen(branch) == seen(parser)
    advance(branch, other)
    assert seen(advance(parser, after)) == seen(
        advance(StreamableParser(encoding, role, strict=False), before + after)
    )
    assert seen(branch) == seen(advance(StreamableParser(encoding, role, strict=False), before + other))


@given(streams, streams, roles, st.booleans())
def test_a_parser_that_was_reset_is_new(
    encoding: harmony.HarmonyEncoding, before: list[int], after: list[int], role: Role | None, strict: bool
) -> None:
    """Whatever it read, and even after an error, reset() leaves nothing of it."""
    parser = StreamableParser(encoding, role, strict=strict)
    with contextlib.suppress(ParseError):
        advance(parser, before)
    new = StreamableParser(encoding, role, strict=strict)
    assert seen(parser.reset()) == seen(new)
    assert outcome(parser, after) == outcome(new, after)


def test_an_error_survives_pickling(encoding: harmony.HarmonyEncoding) -> None:
    """A ParseError keeps its position and what was expected."""
    with pytest.raises(ParseError) as raised:
        read(encoding, [24_912])
    restored = pickle.loads(pickle.dumps(raised.value))
    assert (restored.position, restored.expected) == (0, "<|start|>")


@pytest.mark.parametrize(
    "token",
    [200_006, 200_005, 200_003, 200_500, 201_500, 220, 128, 173_781],
    ids=lambda token: f"token {token}",
)
def test_a_hostile_stream_costs_no_more_than_its_length(
    encoding: harmony.HarmonyEncoding, token: int
) -> None:
    """Twenty thousand times the same token, in every state, leaves diagnostics of a few tokens each."""
    for opening in ([], [200_006], [200_006, 200_008], [200_006, 173_781, 200_005, 17_196]):
        for ending in ([], [200_008], [200_007]):
            tokens = [*opening, *[token] * 20_000, *ending]
            parser = read(encoding, tokens, strict=False)
            assert sum(len(diagnostic.tokens) for diagnostic in parser.diagnostics) < 4 * len(tokens)
