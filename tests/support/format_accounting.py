"""Where every token of a parsed stream went."""

import re
from collections import Counter
from collections.abc import Sequence

from harmony import Fault, ParsedMessage, Role, StreamableParser, load_encoding
from harmony.parsing import is_stray
from harmony.vocabulary import CHANNEL, CONSTRAIN, MESSAGE, START

_ENDINGS = {200_002: "return", 200_007: "end", 200_012: "call"}


def assert_every_token_is_accounted_for(parser: StreamableParser) -> None:
    """What a parser that is done says about its stream accounts for each token of it.

    1. The spans of the messages lie one behind the other; what is between them is in the span of a
       diagnostic.
    2. The last token of a message is the stop token that `ending` names; there is none if that is None.
    3. The text of a message is what its tokens behind `<|message|>` decode to, bit for bit.
    4. The words of its header are those of author, channel, recipient and content type, or a diagnostic
       spans it; even then no letter is lost, but for the names of roles and channels that are said twice.
    5. A message without `<|message|>` has a diagnostic that spans all of it, and no letter of it is lost.
    """
    tokens, place = parser.tokens, 0
    noted = {index for diagnostic in parser.diagnostics for index in diagnostic.span}
    for diagnostic in parser.diagnostics:
        assert diagnostic.tokens == tuple(tokens[index] for index in diagnostic.span)
    for parsed in parser.parsed_messages:
        assert noted.issuperset(range(place, parsed.span.start))
        _account_for_message(parsed, tokens, noted, parser)
        place = parsed.span.stop
    assert noted.issuperset(range(place, len(tokens)))


def _account_for_message(
    parsed: ParsedMessage, tokens: Sequence[int], noted: set[int], parser: StreamableParser
) -> None:
    start, stop = parsed.span.start, parsed.span.stop
    text = parsed.message.to_dict()["content"][0]["text"]
    if parsed.ending is not None:
        stop -= 1
        assert _ENDINGS[tokens[stop]] == parsed.ending
    said = tokens[start:stop]
    if MESSAGE not in said:
        assert noted.issuperset(parsed.span)
        assert not _lost_letters(_spelled(said), f"{text} {' '.join(_fields(parsed))}")
        return
    opened = said.index(MESSAGE)
    assert text == _decoded(said[opened + 1 :])
    header = _spelled([token for token in said[:opened] if not is_stray(token)])
    if noted.isdisjoint(range(start, start + opened + 1)):
        spoken = Counter(_words(header)) - Counter(_fields(parsed))
        unspoken = Counter(_fields(parsed)) - Counter(_words(header))
        assert not spoken
        given = start == 0 and tokens[0] != START
        assert not unspoken or (given and [*unspoken] == [parsed.message.author.role.value])
    elif Fault.CHANNEL_UNCLEAR not in {d.fault for d in parser.diagnostics if start in d.span}:
        assert not _lost_letters(header, " ".join(_fields(parsed)))


def _fields(parsed: ParsedMessage) -> list[str]:
    """The words of a header, as its message has them."""
    message = parsed.message
    author = message.author
    speaker = f"{author.role.value}:{author.name}" if author.name is not None else author.role.value
    if author.role == Role.TOOL:
        speaker = author.name or author.role.value
    return _words(
        " ".join(
            [
                speaker,
                message.channel or "",
                message.recipient or "",
                (message.content_type or "").replace("<|constrain|>", " "),
            ]
        )
    )


def _words(text: str) -> list[str]:
    return [word for each in re.split(r"[ \t\n\f\r]+", text) if (word := each.removeprefix("to="))]


def _spelled(tokens: Sequence[int]) -> str:
    """The text of tokens, in which markers are white space."""
    markers = (START, CHANNEL, CONSTRAIN)
    return b"".join(b" " if token in markers else _spell(token) for token in tokens).decode(errors="replace")


def _decoded(tokens: Sequence[int]) -> str:
    return b"".join(map(_spell, tokens)).decode(errors="replace")


def _spell(token: int) -> bytes:
    vocabulary = load_encoding().token_bytes
    return vocabulary[token] if 0 <= token < len(vocabulary) else "\ufffd".encode()


def _lost_letters(spelled: str, kept: str) -> Counter[str]:
    """The characters of one text that the other lacks, without white space and what may be said twice."""
    repeatable = "|".join([r"\s", "\ufffd", "to=", *Role, "analysis", "commentary", "final"])
    return Counter(re.sub(repeatable, "", spelled)) - Counter(kept)
