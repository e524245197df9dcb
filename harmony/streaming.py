"""Tokens to messages, one token at a time."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass
from enum import Enum
from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from harmony.errors import ParseError
from harmony.faults import Diagnostic, Fault
from harmony.memo import Memo
from harmony.messages import Author, Message, Role, TextContent
from harmony.parsing import Header, is_role_alone, is_stray, parse_header, recover_header, spell
from harmony.utf8 import Utf8Stream
from harmony.vocabulary import (
    CALL,
    END,
    END_OF_TEXT,
    MESSAGE,
    ORDINARY_TOKENS,
    RETURN,
    START,
    STOP_TOKENS,
    VOCABULARY_SIZE,
    token_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harmony.encoding import HarmonyEncoding

Ending = Literal["return", "call", "end"]

_ENDINGS: Final[dict[int, Ending]] = {RETURN: "return", CALL: "call", END: "end"}
_ENDS: Final = STOP_TOKENS | {END_OF_TEXT}
_KEPT: Final = "took what it says, if anything, for a message"
_FAULTS_OF_ONE_TOKEN: Final = (Fault.TOKEN_UNKNOWN, Fault.SPECIAL_UNEXPECTED)


class StreamState(Enum):
    """What a parser waits for."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


# Looked up as `StreamState.CONTENT`, it would take a seventh of the time of a token in Python 3.11.
_CONTENT: Final = StreamState.CONTENT


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message with what its serialised form does not hold.

    `ending` names the stop token that ended it, None if it was cut off; `span` are the indices of its
    tokens in the stream, from `<|start|>`, or from the first token after it, to the stop token.
    """

    message: Message
    ending: Ending | None
    span: range


class _Finding(NamedTuple):
    """What `parse_header` reported."""

    fault: Fault
    assumed: str
    expected: str
    harmless: bool


def _read_header(key: tuple[Role | None, tuple[int, ...]]) -> tuple[Header, tuple[_Finding, ...]]:
    role, tokens = key
    findings: list[_Finding] = []

    def report(fault: Fault, assumed: str, *, expected: str, harmless: bool = False) -> None:
        findings.append(_Finding(fault, assumed, expected, harmless))

    return parse_header(tokens, token_bytes(), role, report), tuple(findings)


_headers: Final = Memo(_read_header, size=lambda key, _: 16 + len(key[1]), capacity=2**16)
"""Few headers are ever written, so each is read once; room for about 3,000 of them."""


class StreamableParser:
    """Reads messages from tokens as they are sampled.

    With `role`, the stream goes on after `<|start|>` and that role. A strict parser raises `ParseError`
    for what is not a harmony stream; one that is not never raises, keeps all text, and says in
    `diagnostics` what it repaired.

    >>> parser = StreamableParser(encoding, Role.ASSISTANT)
    >>> for token in engine.generate(prompt):
    ...     print(parser.process(token).last_content_delta or "", end="")
    """

    def __init__(self, encoding: HarmonyEncoding, role: Role | None, *, strict: bool = True) -> None:
        self._encoding = encoding
        self._given_role = None if role is None else Role(role)
        self._strict = strict
        self.reset()

    def reset(self) -> Self:
        """Forget all that was read: another stream begins, with the same role and strictness."""
        self._tokens: list[int] = []
        self._parsed: list[ParsedMessage] = []
        self._diagnostics: list[Diagnostic] = []
        self._state = StreamState.EXPECT_START
        self._position = 0
        self._message_start = 0
        self._role: Role | None = None
        self._started = False
        self._header_tokens: list[int] = []
        self._header: Header
        self._content_start = 0
        self._text = ""
        self._deltas: list[str] = []
        self._utf8 = Utf8Stream()
        self._delta: str | None = None
        if self._given_role is not None:
            self._open_header(self._given_role)
        return self

    def __copy__(self) -> Self:
        """A parser that goes on from here by itself; the messages that are finished are the same objects."""
        branch = type(self)(self._encoding, self._given_role, strict=self._strict)
        vars(branch).update({name: copy(value) for name, value in vars(self).items()})
        return branch

    def process(self, token: int) -> Self:
        """Take in the next token, an int or what counts as one; raises `ParseError` if strict."""
        token = index(token)
        self._position = len(self._tokens)
        self._tokens.append(token)
        self._delta = None
        if self._state is _CONTENT:
            self._process_content(token)
        elif self._state is StreamState.HEADER:
            self._process_header(token)
        else:
            self._expect_start(token)
        return self

    def process_all(self, tokens: Iterable[int]) -> Self:
        """As `process` for one token after the other, but many times as fast where they are text."""
        stream, start = [*map(index, tokens)], 0
        for place, token in enumerate(stream):
            if not 0 <= token < ORDINARY_TOKENS:
                self._process_ordinary(stream[start:place])
                self.process(token)
                start = place + 1
        self._process_ordinary(stream[start:])
        return self

    def process_eos(self) -> Self:
        """Take note that the stream is over; raises `ParseError` if strict and in the middle of a header."""
        self._position = len(self._tokens)
        self._delta = None
        if self._state is StreamState.CONTENT:
            self._finish(self._header, ending=None)
        elif self._state is StreamState.HEADER:
            self._abandon_header()
        return self

    @property
    def messages(self) -> list[Message]:
        """The messages that are finished."""
        return [parsed.message for parsed in self._parsed]

    @property
    def parsed_messages(self) -> tuple[ParsedMessage, ...]:
        """The messages that are finished, each with how it ended and which tokens it is."""
        return tuple(self._parsed)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What was repaired so far."""
        return tuple(self._diagnostics)

    @property
    def tokens(self) -> list[int]:
        """All tokens so far."""
        return [*self._tokens]

    @property
    def state(self) -> StreamState:
        """Whether a message is expected, its header is read, or its content."""
        return self._state

    @property
    def state_data(self) -> dict[str, Any]:
        """The state as JSON, with the tokens and the header of the current message."""
        data: dict[str, Any] = {"state": self._state.value}
        if self._state is StreamState.HEADER:
            data["header_tokens"] = [*self._header_tokens]
        if self._state is StreamState.CONTENT:
            author = self._header.author.model_dump(mode="json", exclude_none=True)
            data["header"] = asdict(self._header) | {"author": author}
            data["content_tokens"] = self._tokens[self._content_start :]
        return data

    @property
    def current_role(self) -> Role | None:
        """The author's role, known from `<|message|>` on, or earlier if it was given."""
        if self._state is StreamState.CONTENT:
            return self._header.author.role
        return self._role if self._state is StreamState.HEADER else None

    @property
    def current_channel(self) -> str | None:
        """The channel of the message whose content is read."""
        return self._header.channel if self._state is StreamState.CONTENT else None

    @property
    def current_recipient(self) -> str | None:
        """The recipient of the message whose content is read."""
        return self._header.recipient if self._state is StreamState.CONTENT else None

    @property
    def current_content_type(self) -> str | None:
        """The content type of the message whose content is read, such as `<|constrain|>json`."""
        return self._header.content_type if self._state is StreamState.CONTENT else None

    @property
    def current_content(self) -> str:
        """The text so far of the message that is not finished."""
        if self._state is not _CONTENT:
            return ""
        return self._text_so_far()

    @property
    def last_content_delta(self) -> str | None:
        """The text that the last token completed; after a message's end, what was still held back of it.

        The deltas of a message, joined, are its text.
        """
        return self._delta

    def _expect_start(self, token: int) -> None:
        if token == START:
            self._open_header(None)
        elif token in _ENDS:
            self._report(Fault.STOP_REPEATED, "ignored it", expected="<|start|>")
        elif is_stray(token) and token != MESSAGE:
            self._report(Fault.SPECIAL_UNEXPECTED, "ignored it", expected="<|start|>")
        elif spell(token, self._encoding.token_bytes).isspace():
            self._report(Fault.SPACE_BETWEEN, "ignored it", expected="<|start|>")
        else:
            self._report(Fault.START_MISSING, "took it to begin a message", expected="<|start|>")
            self._open_header(None, started=False)
            self._process_header(token)

    def _open_header(self, role: Role | None, *, started: bool = True) -> None:
        self._state = StreamState.HEADER
        self._role = role
        self._started = started and role is None
        self._header_tokens = []
        self._message_start = self._position

    def _process_header(self, token: int) -> None:
        if token == MESSAGE:
            self._open_content()
        elif token == START:
            self._restart_header()
        elif token in _ENDS:
            self._report(Fault.MESSAGE_MISSING, _KEPT, expected="<|message|>")
            self._recover(_ENDINGS.get(token))
        else:
            if not 0 <= token < VOCABULARY_SIZE:
                self._report(Fault.TOKEN_UNKNOWN, "put U+FFFD for it", expected="a token of the vocabulary")
            elif token >= ORDINARY_TOKENS and is_stray(token):
                self._report(Fault.SPECIAL_UNEXPECTED, "left it out of the header", expected="<|message|>")
            self._header_tokens.append(token)

    def _restart_header(self) -> None:
        if self._header_tokens:
            self._report(Fault.MESSAGE_MISSING, _KEPT, expected="<|message|>")
            self._recover(ending=None)
        else:
            was_given = self._role is not None
            self._report(Fault.START_REPEATED, "ignored the first", expected="a role", harmless=was_given)
        self._open_header(None)

    def _abandon_header(self) -> None:
        expected = "<|message|>"
        if not self._tokens:
            self._report(Fault.STREAM_EMPTY, "took it for no message", expected=expected)
        else:
            opens_turn = self._started and is_role_alone(self._header_tokens, self._encoding.token_bytes)
            assumed = "took it to open a turn" if opens_turn else _KEPT
            self._report(Fault.HEADER_UNFINISHED, assumed, expected=expected, harmless=opens_turn)
        self._recover(ending=None)

    def _recover(self, ending: Ending | None) -> None:
        header, text = recover_header(
            self._header_tokens, self._encoding.token_bytes, self._role, started=self._started
        )
        says_something = text.strip() or header != Header(header.author)
        if says_something or (self._header_tokens and ending is not None):
            self._begin_text(text)
            self._finish(header, ending)
            self._delta = text or None
        self._state = StreamState.EXPECT_START

    def _open_content(self) -> None:
        self._header, findings = _headers[self._role, tuple(self._header_tokens)]
        for fault, assumed, expected, harmless in findings:
            self._report(fault, assumed, expected=expected, harmless=harmless)
        self._state = StreamState.CONTENT
        self._content_start = len(self._tokens)
        self._begin_text("")

    def _process_ordinary(self, tokens: list[int]) -> None:
        *most, _ = tokens or [0]
        if most and self._state is StreamState.CONTENT and self._add_valid_text(most):
            self._tokens += most
            tokens = tokens[-1:]
        for token in tokens:
            self.process(token)

    def _add_valid_text(self, tokens: list[int]) -> bool:
        """Add the text of ordinary tokens; False, and nothing is added, if it is not UTF-8."""
        try:
            text = self._utf8.feed_valid(b"".join(map(self._encoding.token_bytes.__getitem__, tokens)))
        except UnicodeDecodeError:
            return False
        self._deltas.append(text)
        return True

    def _process_content(self, token: int) -> None:
        if 0 <= token < ORDINARY_TOKENS:
            self._add_text(self._utf8.feed(self._encoding.token_bytes[token]))
        elif token in _ENDS:
            if token == END_OF_TEXT:
                assumed = "took it for the end of the message"
                self._report(Fault.SPECIAL_UNEXPECTED, assumed, expected="a stop token", harmless=True)
            self._finish(self._header, _ENDINGS.get(token))
        elif token == START:
            self._report(Fault.END_MISSING, "took it to be cut off", expected="a stop token", harmless=True)
            self._finish(self._header, ending=None)
            self._open_header(None)
        else:
            if 0 <= token < VOCABULARY_SIZE:
                assumed = "took its name for text"
                self._report(Fault.SPECIAL_UNEXPECTED, assumed, expected="text", harmless=True)
            else:
                self._report(Fault.TOKEN_UNKNOWN, "put U+FFFD for it", expected="a token of the vocabulary")
            self._add_text(self._utf8.feed(spell(token, self._encoding.token_bytes)))

    def _finish(self, header: Header, ending: Ending | None) -> None:
        self._add_text(self._utf8.flush())
        message = Message(
            author=Author(role=header.author.role, name=header.author.name),
            content=[TextContent(text=self._text_so_far())],
            channel=header.channel,
            recipient=header.recipient,
            content_type=header.content_type,
        )
        end = self._position if ending is None else self._position + 1
        self._parsed.append(ParsedMessage(message, ending, range(self._message_start, end)))
        self._state = StreamState.EXPECT_START

    def _add_text(self, text: str) -> None:
        if self._utf8.replaced:
            self._utf8.replaced = 0
            self._report(Fault.UTF8_INVALID, "put U+FFFD for them", expected="UTF-8", harmless=True)
        if text:
            self._deltas.append(text)
            self._delta = text

    def _begin_text(self, text: str) -> None:
        self._text, self._utf8 = text, Utf8Stream()
        self._deltas.clear()

    def _text_so_far(self) -> str:
        # While only this function names the text, CPython appends to it in place, so that who reads it at
        # every token does not pay for all of it each time.
        text, self._text = self._text, ""
        text += "".join(self._deltas)
        self._deltas.clear()
        self._text = text
        return text

    def _report(self, fault: Fault, assumed: str, *, expected: str, harmless: bool = False) -> None:
        if self._strict and not harmless:
            self._state = StreamState.EXPECT_START
            raise ParseError(
                f"Token {self._position}: {fault}; the format has {expected} here. "
                "Parse with strict=False to repair it.",
                position=self._position,
                expected=expected,
            )
        about_header = self._state is StreamState.HEADER and fault not in _FAULTS_OF_ONE_TOKEN
        start = self._message_start if about_header else self._position
        concerned = tuple(self._tokens[start : self._position + 1])
        span = range(start, start + len(concerned))
        self._diagnostics.append(Diagnostic(fault, self._position, concerned, assumed, span))
