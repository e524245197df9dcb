"""What can be wrong with a stream of harmony tokens, and what the parser says about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Fault(StrEnum):
    """What can be wrong with a harmony stream."""

    STREAM_EMPTY = "the stream is empty"
    START_MISSING = "a message without <|start|>"
    START_REPEATED = "<|start|> twice"
    STOP_REPEATED = "a stop token between messages"
    SPACE_BETWEEN = "white space between messages"
    MESSAGE_MISSING = "a header without <|message|>"
    HEADER_UNFINISHED = "the stream ends in a header"
    END_MISSING = "a message that <|start|> cuts off"
    ROLE_MISSING = "a header without a role"
    ROLE_UNCLEAR = "a role that is glued to another word"
    CHANNEL_EMPTY = "<|channel|> without a channel"
    CHANNEL_REPEATED = "<|channel|> twice"
    CHANNEL_UNMARKED = "a channel without <|channel|>"
    CHANNEL_UNCLEAR = "a channel that is glued to other text"
    RECIPIENT_REPEATED = "to= twice"
    WORDS_UNEXPECTED = "words in a header that mean nothing"
    SPECIAL_UNEXPECTED = "a special token that has no place here"
    TOKEN_UNKNOWN = "a token outside the vocabulary"
    UTF8_INVALID = "bytes that are not UTF-8"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A fault that the parser repaired.

    `position` is the index of the token at which it was noticed, counted from 0 (the length of the
    stream if it was noticed at its end); `tokens` are the tokens concerned, up to that one, and `span`
    their indices; `assumed` says what the parser made of them.
    """

    fault: Fault
    position: int
    tokens: tuple[int, ...]
    assumed: str
    span: range


class Report(Protocol):
    """Records a fault; of a strict parser, raises `ParseError` instead unless the fault is `harmless`."""

    def __call__(self, fault: Fault, assumed: str, *, expected: str, harmless: bool = False) -> None: ...
