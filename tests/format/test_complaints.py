"""Each stream that users of openai-harmony 0.0.8 complained about is read right here.

A name says what is wrong; in brackets stands a thread that reports it, of openai/harmony if only a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from format_accounting import assert_every_token_is_accounted_for

from harmony import Fault, HarmonyEncoding, Message, ParseError, Role, StreamableParser

if TYPE_CHECKING:
    from tests.conftest import Oracle

    Said = tuple[dict[str, Any], str | None]

ASSISTANT = Role.ASSISTANT
JSON = "<|constrain|>json"


@dataclass(frozen=True)
class Complaint:
    """A stream after `<|start|>` and a role, or from its beginning, and how it should be read.

    `faults` are what a lenient parser notes. `refused` is the position at which a strict parser raises
    and what it expects there; without it, a strict parser reads the stream as the lenient one does.
    """

    stream: str | list[int]
    said: list[Said]
    role: Role | None = ASSISTANT
    faults: list[Fault] = field(default_factory=list)
    refused: tuple[int, str] | None = None


def says(text: str, ending: str | None = "return", **header: str | None) -> Said:
    """A message of the assistant, or of another `role`, and the stop token that ends it."""
    content = [{"type": "text", "text": text}]
    return {"role": "assistant", "name": None, "content": content, **header}, ending


COMPLAINTS = {
    # A header without <|message|>.
    "a final answer without <|message|> (vllm#45736)": Complaint(
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final The answer\n is.<|return|>",
        [says("A", "end", channel="analysis"), says(" The answer\n is.", channel="final")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(14, "<|message|>"),
    ),
    "a channel glued to the answer, without <|message|>": Complaint(
        "<|channel|>finalYes.<|return|>",
        [says("Yes.", channel="final")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(4, "<|message|>"),
    ),
    "a call without <|message|> (ai-dynamo/frontend-crates#236)": Complaint(
        '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json{"a": 1}<|call|>',
        [says('{"a": 1}', "call", channel="commentary", recipient="functions.f", content_type=JSON)],
        role=None,
        faults=[Fault.MESSAGE_MISSING],
        refused=(18, "<|message|>"),
    ),
    "a role glued to a channel, without <|message|>": Complaint(
        "<|start|>assistantfinal Hello<|return|>",
        [says(" Hello", channel="final")],
        role=None,
        faults=[Fault.MESSAGE_MISSING],
        refused=(4, "<|message|>"),
    ),
    "a refusal without a header (#80)": Complaint(
        "I'm sorry,\n but no.<|return|>",
        [says("I'm sorry,\n but no.")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(6, "<|message|>"),
    ),
    "a refusal without a header, cut off (#80)": Complaint(
        "I'm sorry",
        [says("I'm sorry", None)],
        faults=[Fault.HEADER_UNFINISHED],
        refused=(2, "<|message|>"),
    ),
    "a refusal as a second message": Complaint(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant I'm sorry.<|return|>",
        [says("Hm.", "end", channel="analysis"), says(" I'm sorry.")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(11, "<|message|>"),
    ),
    "a stop token in a header, another message behind it": Complaint(
        "<|channel|>analysis Hm.<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
        [says(" Hm.", "end", channel="analysis"), says("A", channel="final")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(5, "<|message|>"),
    ),
    # Something between messages.
    "a second stop token (#60)": Complaint(
        "<|channel|>final<|message|>A<|end|><|return|>",
        [says("A", "end", channel="final")],
        faults=[Fault.STOP_REPEATED],
        refused=(5, "<|start|>"),
    ),
    "white space between messages (#60)": Complaint(
        "<|channel|>final<|message|>A<|end|>\n<|start|>user<|message|>B<|end|>",
        [says("A", "end", channel="final"), says("B", "end", role="user")],
        faults=[Fault.SPACE_BETWEEN],
        refused=(5, "<|start|>"),
    ),
    "text after a call (#60)": Complaint(
        "<|channel|>commentary to=functions.f<|message|>{}<|call|>And then<|end|>",
        [says("{}", "call", channel="commentary", recipient="functions.f"), says("And then", "end")],
        faults=[Fault.START_MISSING, Fault.MESSAGE_MISSING],
        refused=(10, "<|start|>"),
    ),
    "a message without <|start|>assistant": Complaint(
        "<|channel|>analysis<|message|>A<|end|><|channel|>final<|message|>B<|return|>",
        [says("A", "end", channel="analysis"), says("B", channel="final")],
        faults=[Fault.START_MISSING, Fault.ROLE_MISSING],
        refused=(5, "<|start|>"),
    ),
    "text before the first <|start|>": Complaint(
        "Hello<|end|><|start|>user<|message|>A<|end|>",
        [says("Hello", "end"), says("A", "end", role="user")],
        role=None,
        faults=[Fault.START_MISSING, Fault.MESSAGE_MISSING],
        refused=(0, "<|start|>"),
    ),
    "<|endoftext|> for a stop token": Complaint(
        "<|channel|>final<|message|>A<|endoftext|>",
        [says("A", None, channel="final")],
        faults=[Fault.SPECIAL_UNEXPECTED],
    ),
    "<|endoftext|> in a header": Complaint(
        "<|channel|>final<|endoftext|>",
        [says("", None, channel="final")],
        faults=[Fault.MESSAGE_MISSING],
        refused=(2, "<|message|>"),
    ),
    "a missing <|end|>": Complaint(
        "<|channel|>analysis<|message|>A<|start|>assistant<|channel|>final<|message|>B<|return|>",
        [says("A", None, channel="analysis"), says("B", channel="final")],
        faults=[Fault.END_MISSING],
    ),
    # <|start|>, the role and the name.
    "<|start|> twice (vllm#43408)": Complaint(
        "<|start|><|start|>assistant<|message|>A<|end|>",
        [says("A", "end")],
        role=None,
        faults=[Fault.START_REPEATED],
        refused=(1, "a role"),
    ),
    "<|start|>assistant twice (vllm#43408)": Complaint(
        "<|start|>assistant<|start|>assistant<|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        role=None,
        faults=[Fault.MESSAGE_MISSING],
        refused=(2, "<|message|>"),
    ),
    "<|start|>assistant, although the role was given": Complaint(
        "<|start|>assistant<|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        faults=[Fault.START_REPEATED],
    ),
    "assistantassistant (vllm#43408)": Complaint(
        "<|start|>assistantassistant<|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        role=None,
        faults=[Fault.ROLE_UNCLEAR],
        refused=(5, "a role"),
    ),
    "assistantassistant, one of them given": Complaint(
        "assistantassistant<|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        faults=[Fault.ROLE_UNCLEAR],
        refused=(4, "a role"),
    ),
    "assistantfinal": Complaint(
        "<|start|>assistantfinal<|message|>A<|return|>",
        [says("A", channel="final")],
        role=None,
        faults=[Fault.ROLE_UNCLEAR],
        refused=(3, "a role"),
    ),
    "assistantcommentary to=functions.f": Complaint(
        "<|start|>assistantcommentary to=functions.f<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f")],
        role=None,
        faults=[Fault.ROLE_UNCLEAR],
        refused=(8, "a role"),
    ),
    "no role": Complaint(
        "<|start|><|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        role=None,
        faults=[Fault.ROLE_MISSING],
        refused=(3, "a role"),
    ),
    "a tool without to= (its own rendering)": Complaint(
        "<|start|>functions.f<|channel|>commentary<|message|>1<|end|>",
        [says("1", "end", role="tool", name="functions.f", channel="commentary")],
        role=None,
    ),
    "a user with a name (its own rendering)": Complaint(
        "<|start|>user:bob<|message|>A<|end|>",
        [says("A", "end", role="user", name="bob")],
        role=None,
    ),
    "an assistant with a name (its own rendering)": Complaint(
        "<|start|>assistant:bob to=functions.f<|message|>{}<|call|>",
        [says("{}", "call", name="bob", recipient="functions.f")],
        role=None,
    ),
    # The channel.
    "an empty channel (vllm#43408)": Complaint(
        "<|channel|><|message|>A<|return|>",
        [says("A")],
        faults=[Fault.CHANNEL_EMPTY],
        refused=(1, "the name of a channel"),
    ),
    "a space before the channel": Complaint(
        "<|channel|> final<|message|>A<|return|>", [says("A", channel="final")]
    ),
    "a repeated <|channel|>commentary (vllm#31677)": Complaint(
        "<|channel|>commentary to=functions.f<|channel|>commentary json<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f", content_type="json")],
        faults=[Fault.CHANNEL_REPEATED],
    ),
    "two channels": Complaint(
        "<|channel|>analysis<|channel|>final<|message|>A<|return|>",
        [says("A", channel="final")],
        faults=[Fault.CHANNEL_REPEATED],
        refused=(4, "<|message|>"),
    ),
    "commentary? (ggml-org/llama.cpp#27720)": Complaint(
        "<|channel|>commentary? to=functions.f <|constrain|>json<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f", content_type=JSON)],
        faults=[Fault.CHANNEL_UNCLEAR],
        refused=(11, "the name of a channel"),
    ),
    "commentaryto=functions.f": Complaint(
        "<|channel|>commentaryto=functions.f<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f")],
        faults=[Fault.CHANNEL_UNCLEAR],
        refused=(7, "the name of a channel"),
    ),
    "a channel without <|channel|>": Complaint(
        "final<|message|>A<|return|>",
        [says("A", channel="final")],
        faults=[Fault.CHANNEL_UNMARKED],
        refused=(1, "<|channel|>"),
    ),
    # The recipient and the type of content.
    "final <|constrain|>json (#144)": Complaint(
        "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
        [says("{}", channel="final", content_type=JSON)],
    ),
    "final json": Complaint(
        "<|channel|>final json<|message|>{}<|return|>", [says("{}", channel="final", content_type="json")]
    ),
    "commentary code": Complaint(
        "<|start|>assistant<|channel|>commentary code<|message|>x<|end|>",
        [says("x", "end", channel="commentary", content_type="code")],
        role=None,
    ),
    "<|constrain|> json, as in the documentation": Complaint(
        "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f", content_type=JSON)],
    ),
    "the type of content before the recipient (#38)": Complaint(
        "<|channel|>commentary json to=functions.f<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f", content_type="json")],
    ),
    "words left in the header (#38)": Complaint(
        "<|channel|>commentary to=functions.f code extra<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.f", content_type="code extra")],
        faults=[Fault.WORDS_UNEXPECTED],
        refused=(9, "<|message|>"),
    ),
    "free text in the header (ggml-org/llama.cpp#27720)": Complaint(
        "<|channel|>final I think so<|message|>A<|return|>",
        [says("A", channel="final", content_type="I think so")],
        faults=[Fault.WORDS_UNEXPECTED],
        refused=(5, "<|message|>"),
    ),
    "to= twice": Complaint(
        "<|channel|>commentary to=functions.f to=functions.g<|message|>{}<|call|>",
        [says("{}", "call", channel="commentary", recipient="functions.g", content_type="to=functions.f")],
        faults=[Fault.RECIPIENT_REPEATED],
        refused=(11, "<|message|>"),
    ),
    "<|channel|>to=functions.f": Complaint(
        "<|channel|>to=functions.f<|message|>{}<|call|>",
        [says("{}", "call", recipient="functions.f")],
        faults=[Fault.CHANNEL_EMPTY],
        refused=(5, "the name of a channel"),
    ),
    # The end of the stream.
    "an empty stream after a role": Complaint(
        "", [], faults=[Fault.STREAM_EMPTY], refused=(0, "<|message|>")
    ),
    "the end of the stream in a header": Complaint(
        "<|channel|>final",
        [says("", None, channel="final")],
        faults=[Fault.HEADER_UNFINISHED],
        refused=(2, "<|message|>"),
    ),
    "a rendered prompt, parsed with the role (#33)": Complaint(
        "<|start|>user<|message|>A<|end|><|start|>assistant",
        [says("A", "end", role="user")],
        faults=[Fault.START_REPEATED, Fault.HEADER_UNFINISHED],
    ),
    # Tokens that are none, and bytes that are no text.
    "an unknown token in a text": Complaint(
        [200_005, 17_196, 200_008, 24_912, 201_500, 24_912, 200_002],
        [says("hello\ufffdhello", channel="final")],
        faults=[Fault.TOKEN_UNKNOWN],
        refused=(4, "a token of the vocabulary"),
    ),
    "an unknown token in a header": Complaint(
        [200_005, 17_196, 201_500, 200_008, 24_912, 200_002],
        [says("hello", channel="final")],
        faults=[Fault.TOKEN_UNKNOWN, Fault.UTF8_INVALID, Fault.CHANNEL_UNCLEAR],
        refused=(2, "a token of the vocabulary"),
    ),
    "a negative and a huge token": Complaint(
        [200_005, 17_196, 200_008, -1, 24_912, 2**70, 200_002],
        [says("\ufffdhello\ufffd", channel="final")],
        faults=[Fault.TOKEN_UNKNOWN, Fault.TOKEN_UNKNOWN],
        refused=(3, "a token of the vocabulary"),
    ),
    "a reserved token in a header": Complaint(
        "<|start|>user<|reserved_200500|><|message|>A<|end|>",
        [says("A", "end", role="user")],
        role=None,
        faults=[Fault.SPECIAL_UNEXPECTED],
        refused=(2, "<|message|>"),
    ),
    "a special token before the first message": Complaint(
        "<|startoftext|><|start|>user<|message|>A<|end|>",
        [says("A", "end", role="user")],
        role=None,
        faults=[Fault.SPECIAL_UNEXPECTED],
        refused=(0, "<|start|>"),
    ),
    "bytes that are not UTF-8 in a header": Complaint(
        [200_005, 17_196, 160, 200_008, 24_912, 200_002],
        [says("hello", channel="final")],
        faults=[Fault.UTF8_INVALID, Fault.CHANNEL_UNCLEAR],
        refused=(3, "UTF-8"),
    ),
}
complaints = pytest.mark.parametrize("complaint", COMPLAINTS.values(), ids=COMPLAINTS.keys())


def read(encoding: HarmonyEncoding, complaint: Complaint, *, strict: bool) -> StreamableParser:
    """A parser that has read the whole stream."""
    stream = complaint.stream
    tokens = encoding.encode(stream, allowed_special="all") if isinstance(stream, str) else stream
    parser = StreamableParser(encoding, complaint.role, strict=strict)
    for token in tokens:
        parser.process(token)
    return parser.process_eos()


def heard(parser: StreamableParser) -> list[Said]:
    """The messages that a parser has read, with their endings."""
    return [(parsed.message.to_dict(), parsed.ending) for parsed in parser.parsed_messages]


@complaints
def test_a_lenient_parser_reads_it_and_says_what_was_wrong(
    encoding: HarmonyEncoding, complaint: Complaint
) -> None:
    """Each message comes out with its header, text and ending; faults are noted, no token is lost."""
    parser = read(encoding, complaint, strict=False)
    assert heard(parser) == complaint.said
    assert [diagnostic.fault for diagnostic in parser.diagnostics] == complaint.faults
    assert_every_token_is_accounted_for(parser)


@complaints
def test_a_strict_parser_reads_it_too_or_says_where_it_breaks(
    encoding: HarmonyEncoding, complaint: Complaint
) -> None:
    """What can be understood without a guess reads the same; else ParseError has position and expectation."""
    if complaint.refused is None:
        assert heard(read(encoding, complaint, strict=True)) == complaint.said
        return
    with pytest.raises(ParseError, match="strict=False") as raised:
        read(encoding, complaint, strict=True)
    assert (raised.value.position, raised.value.expected) == complaint.refused
    assert str(complaint.faults[0]) in str(raised.value)


@complaints
def test_the_reference_gets_it_wrong(encoding: HarmonyEncoding, oracle: Oracle, complaint: Complaint) -> None:
    """Not strict, openai-harmony raises, or loses or misreads something: the complaint is true."""
    stream = complaint.stream
    tokens = encoding.encode(stream, allowed_special="all") if isinstance(stream, str) else stream
    try:
        parsed = oracle.parse(tokens, complaint.role, strict=False)
    except (RuntimeError, OverflowError):
        return
    assert parsed != [message for message, _ in complaint.said]


@pytest.mark.parametrize("recipient", ["get_weather", "functions.get_weather", "python"])
@pytest.mark.parametrize("address", ["to={}", "{}"])
def test_a_bare_name_is_a_recipient(encoding: HarmonyEncoding, recipient: str, address: str) -> None:
    """A call may lack `functions.`, and even `to=` (vllm#42454)."""
    for tail in ("", " json", " <|constrain|>json"):
        stream = f"<|channel|>commentary {address.format(recipient)}{tail}<|message|>{{}}<|call|>"
        parser = read(encoding, Complaint(stream, []), strict=True)
        assert [message.recipient for message in parser.messages] == [recipient]
        assert parser.diagnostics == ()


def test_a_truncated_call_is_not_lost(encoding: HarmonyEncoding) -> None:
    """Its arguments so far are there, and no ending tells that they are incomplete."""
    stream = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": '
    parser = read(encoding, Complaint(stream, []), strict=True)
    call = says('{"a": ', None, channel="commentary", recipient="functions.f", content_type=JSON)
    assert heard(parser) == [call]


def test_invalid_bytes_do_not_hold_back_what_follows(encoding: HarmonyEncoding) -> None:
    """Two bytes that are no text, then a letter: it comes at once, not two tokens later (#83)."""
    parser = StreamableParser(encoding, ASSISTANT).process(200_008)
    letter = encoding.encode("a")[0]
    deltas = [parser.process(token).last_content_delta for token in (160, 160, letter)]
    assert "".join(delta or "" for delta in deltas) == "\ufffd\ufffda"


def test_a_rendered_conversation_parses_back(encoding: HarmonyEncoding) -> None:
    """The reference cannot read what it renders: names, tools without a recipient."""
    said = [
        Message.from_dict({"role": "user", "name": "bob", "content": "A"}),
        Message.from_dict({"role": "tool", "name": "functions.f", "content": "1", "channel": "commentary"}),
        Message.from_dict({"role": "assistant", "content": "{}", "channel": "final", "content_type": JSON}),
    ]
    rendered = [token for message in said for token in encoding.render(message)]
    assert encoding.parse_messages_from_completion_tokens(rendered) == said
