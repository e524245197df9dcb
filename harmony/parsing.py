"""The header of a message: who speaks, to whom, on which channel, in which type of content.

A header is the tokens between `<|start|>` and `<|message|>`. The model writes
`assistant<|channel|>commentary to=functions.f <|constrain|>json`, this package renders
`assistant to=functions.f<|channel|>commentary <|constrain|>json`; both are read.

Source: https://github.com/openai/harmony, docs/format.md, and the behaviour of openai-harmony 0.0.8,
except where that misreads: a lone word that names a type of content is one, a channel that is repeated
counts once, and a tool needs no `to=` to be known as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harmony.faults import Fault
from harmony.messages import Author, Role
from harmony.vocabulary import CHANNEL, CONSTRAIN, CONSTRAIN_MARK, ORDINARY_TOKENS, VOCABULARY_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harmony.faults import Report

    Segment = tuple[int | None, str]

CHANNELS: Final = ("analysis", "commentary", "final")
"""The channels that gpt-oss was trained to speak on."""

REPLACEMENT: Final = "\ufffd"

_ADDRESSES: Final = frozenset({*Role, "all", "python", "browser"})
_TYPES: Final = frozenset({"json", "code", "text", "markdown", "html", "xml", "yaml"})
_ROLES: Final = "|".join(Role)
_CHANNELS: Final = "|".join(CHANNELS)
_SPACE: Final = re.compile(r"[ \t\n\f\r]+")
_NAMED_ROLE: Final = re.compile(r"(user|assistant|system|developer):(.*)", re.DOTALL)
_GLUED_ROLE: Final = re.compile(rf"(?:{_ROLES})*?({_ROLES})({_CHANNELS})?")
_GLUED_CHANNEL: Final = re.compile(rf"({_CHANNELS})(to=.*|[^\w.:/-]+)", re.DOTALL)
_STATED_ROLE: Final = re.compile(rf"\s*+(?:{_ROLES})*?({_ROLES})({_CHANNELS})?\b")
_OPENING: Final = re.compile(rf"\s*+({_ROLES})?\s*+(?:to=(\S*+))?\s*+")
_STATED_CHANNEL: Final = re.compile(rf"\s*+({_CHANNELS})")
_STATED_RECIPIENT: Final = re.compile(r"\s*+to=([\w.:/-]*)")
_STATED_TYPE: Final = re.compile(r"\s*+(\w+)")


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says."""

    author: Author
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None


def parse_header(
    tokens: Sequence[int], vocabulary: Sequence[bytes], role: Role | None, report: Report
) -> Header:
    """The header in the tokens before `<|message|>`, of which `role` was given beforehand if not None.

    Special tokens that have no place in a header are left out. Calls `report` for each fault, and goes on
    if that does not raise.
    """
    segments = [*_segments([token for token in tokens if not is_stray(token)], vocabulary)]
    if any(REPLACEMENT in text for _, text in segments):
        report(Fault.UTF8_INVALID, "put U+FFFD for them", expected="UTF-8")
    channels: list[str] = []
    words: list[str] = []
    for marker, text in segments:
        more = [word for word in _SPACE.split(text) if word]
        value = more.pop(0) if marker is not None and more and not more[0].startswith("to=") else ""
        if marker == CONSTRAIN:
            words.append(CONSTRAIN_MARK + value)
        elif marker == CHANNEL:
            channels.append(value)
        words += more
    author = _take_author(words, channels, role, report)
    channel = _take_channel(channels, words, report)
    recipient, content_type = _take_address(words, channel, report)
    return Header(author, recipient, channel, content_type)


def recover_header(
    tokens: Sequence[int], vocabulary: Sequence[bytes], role: Role | None, *, started: bool
) -> tuple[Header, str]:
    """The header and the text in tokens that hold no `<|message|>` between them.

    What is plainly a part of a header is taken for one, all the rest is text. A role with text behind
    it is plain only after `<|start|>` (`started`).
    """
    (_, opening), *marked = _segments(tokens, vocabulary)
    header, rest = _recover_opening(opening, role, started=started, alone=not marked)
    texts = [rest]
    for marker, segment in marked:
        stated = (_STATED_TYPE if marker == CONSTRAIN else _STATED_CHANNEL).match(segment)
        rest = segment[stated.end() :] if stated else segment
        if stated and marker == CHANNEL:
            header, rest = _with_stated_recipient(replace(header, channel=stated[1]), rest)
        elif stated and header.content_type is None:
            header = replace(header, content_type=CONSTRAIN_MARK + stated[1])
        else:
            rest = segment
        texts.append(rest)
    *between, last = texts
    return header, "".join(text for text in between if not text.isspace()) + last


def _recover_opening(text: str, role: Role | None, *, started: bool, alone: bool) -> tuple[Header, str]:
    header = Header(Author(role=role or Role.ASSISTANT))
    if started:
        stated = _STATED_ROLE.match(text)
        if stated is None:
            return header, text
        header = Header(_author_of(Role(stated[1])), channel=stated[2])
        return _with_stated_recipient(header, text[stated.end() :])
    opening = None if alone else _OPENING.fullmatch(text)
    if opening is None or (role is not None and opening[1] not in (None, role)):
        return header, text
    if role is None and opening[1] is not None:
        header = Header(_author_of(Role(opening[1])))
    return replace(header, recipient=opening[2]), ""


def _with_stated_recipient(header: Header, text: str) -> tuple[Header, str]:
    stated = _STATED_RECIPIENT.match(text)
    if stated is None or header.recipient is not None:
        return header, text
    return replace(header, recipient=stated[1]), text[stated.end() :]


def is_role_alone(tokens: Sequence[int], vocabulary: Sequence[bytes]) -> bool:
    """Whether the tokens spell the name of a role and nothing else."""
    return [*_segments(tokens, vocabulary)] in [[(None, role.value)] for role in Role]


def is_stray(token: int) -> bool:
    """Whether it is a special token that has no place in a header."""
    return ORDINARY_TOKENS <= token < VOCABULARY_SIZE and token not in (CHANNEL, CONSTRAIN)


def spell(token: int, vocabulary: Sequence[bytes]) -> bytes:
    """The bytes of a token, which are those of U+FFFD if there is no such token."""
    return vocabulary[token] if 0 <= token < len(vocabulary) else REPLACEMENT.encode()


def _segments(tokens: Sequence[int], vocabulary: Sequence[bytes]) -> Iterator[Segment]:
    """The text before the first marker, with None, and the text after each marker, with the marker."""
    marker: int | None = None
    spelled = bytearray()
    for token in tokens:
        if token in (CHANNEL, CONSTRAIN):
            yield marker, spelled.decode(errors="replace")
            marker = token
            spelled.clear()
        else:
            spelled += spell(token, vocabulary)
    yield marker, spelled.decode(errors="replace")


def _take_author(words: list[str], channels: list[str], role: Role | None, report: Report) -> Author:
    if role is not None:
        if words[:1] == [role.value] or (words and _unglue_role(words[0], channels, report)):
            del words[0]
        return Author(role=role)
    if not words or words[0] in CHANNELS or words[0].startswith(("to=", CONSTRAIN_MARK)):
        report(Fault.ROLE_MISSING, "took the assistant for the author", expected="a role")
        return Author(role=Role.ASSISTANT)
    word = words.pop(0)
    if word in [*Role]:
        return _author_of(Role(word))
    if named := _NAMED_ROLE.fullmatch(word):
        return Author(role=Role(named[1]), name=named[2])
    if unglued := _unglue_role(word, channels, report):
        return _author_of(unglued)
    return Author(role=Role.TOOL, name=word)


def _unglue_role(word: str, channels: list[str], report: Report) -> Role | None:
    """The last of the roles that make up the word, if need be with a channel behind; None for other words."""
    glued = None if word in [*Role] else _GLUED_ROLE.fullmatch(word)
    if glued is None:
        return None
    report(Fault.ROLE_UNCLEAR, f"split {word!r} into role and channel", expected="a role")
    channels += [glued[2]] if glued[2] else []
    return Role(glued[1])


def _author_of(role: Role) -> Author:
    return Author(role=role, name=role.value if role == Role.TOOL else None)


def _take_channel(channels: list[str], words: list[str], report: Report) -> str | None:
    if "" in channels:
        report(Fault.CHANNEL_EMPTY, "ignored it", expected="the name of a channel")
    if not channels and (unmarked := next((word for word in words if word in CHANNELS), None)):
        report(Fault.CHANNEL_UNMARKED, f"took {unmarked!r} for the channel", expected="<|channel|>")
        words.remove(unmarked)
        return unmarked
    named = [_unglue_channel(channel, words, report) for channel in channels if channel]
    if not named:
        return None
    *earlier, channel = named
    if earlier:
        harmless = set(earlier) == {channel}
        assumed = f"took the last, {channel!r}"
        report(Fault.CHANNEL_REPEATED, assumed, expected="<|message|>", harmless=harmless)
    words += [word for word in earlier if word not in (*CHANNELS, channel)]
    return channel


def _unglue_channel(channel: str, words: list[str], report: Report) -> str:
    """The channel without the recipient or the punctuation that is glued to it."""
    glued = _GLUED_CHANNEL.fullmatch(channel)
    if glued is None:
        return channel
    report(Fault.CHANNEL_UNCLEAR, f"took {glued[1]!r} for the channel", expected="the name of a channel")
    words += [glued[2]] if glued[2].startswith("to=") else []
    return glued[1]


def _take_address(words: list[str], channel: str | None, report: Report) -> tuple[str | None, str | None]:
    recipients = [word for word in words if word.startswith("to=")]
    others = [word for word in words if not word.startswith("to=")]
    if not recipients and others and _begins_with_address(others, channel):
        recipients.append(others.pop(0))
    if len(recipients) > 1:
        report(Fault.RECIPIENT_REPEATED, f"took the last, {recipients[-1]!r}", expected="<|message|>")
        others += recipients[:-1]
    if len(others) > 1:
        report(Fault.WORDS_UNEXPECTED, "took them for the type of content", expected="<|message|>")
    return recipients[-1].removeprefix("to=") if recipients else None, " ".join(others) or None


def _begins_with_address(words: list[str], channel: str | None) -> bool:
    """Whether the first of the words, which lack `to=`, is a recipient and no type of content."""
    word = words[0]
    if word.startswith(CONSTRAIN_MARK):
        return False
    if len(words) == 2 or word in _ADDRESSES or "." in word:
        return True
    return len(words) == 1 and channel != "final" and "/" not in word and word.lower() not in _TYPES
