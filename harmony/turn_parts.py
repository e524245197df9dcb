"""The grammar of a turn in parts: its headers, and what each message says behind its own.

Special tokens are where messages begin and end, and no text can hold one, so what comes behind a header
depends on the header alone. A turn can be followed part by part, then: headers are a few short texts, which
are listed, and each body has a grammar of its own, which is the same in every turn and is not needed before
its header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Header = Sequence[Sequence[Sequence[str]]]
    """The orders of a header: what may stand at each of its places, special tokens spelled out."""

_BEGUN: Final = "<|start|>assistant"
_OPENING: Final = "<|message|>"
_JSON: Final = "%json "


@dataclass(frozen=True, slots=True)
class MessageKind:
    """A kind of message: its header, up to `<|message|>`, what it says, and the token at its end.

    `spelled` are the texts of the header, and `rules` are those that it needs. `rule` is that of what it
    says and `body` its name; without one it is any text. A turn begins no sooner than the grammar of an
    `awaited` body is compiled.
    """

    name: str
    header: str
    spelled: Header
    end: str
    rules: Mapping[str, str] = field(default_factory=dict)
    body: str = "TEXT"
    rule: str | None = None
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class TurnBody:
    """What a message says before its `end` token: by a grammar, or any text; `last` ends the turn."""

    grammar: str | None
    end: str
    last: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class TurnParts:
    """The headers of a turn by what they open, and the body behind each.

    `first` are those that the first message may have, `rest` those after it. They begin with what is `begun`
    when a turn is sampled, and end with the special token `opening`.
    """

    first: Mapping[str, Header]
    rest: Mapping[str, Header]
    bodies: Mapping[str, TurnBody]
    begun: str = _BEGUN
    opening: str = _OPENING

    @classmethod
    def of(
        cls, first: Sequence[MessageKind], before: Sequence[MessageKind], last: Sequence[MessageKind]
    ) -> TurnParts:
        """The parts of a turn: messages of `first`, then any number of `before`, then one of `last`."""
        kinds = [*before, *last]
        bodies = {
            kind.name: TurnBody(_body(kind), kind.end, kind not in before, kind.awaited) for kind in kinds
        }
        headers = {kind.name: kind.spelled for kind in kinds}
        return cls({kind.name: kind.spelled for kind in first} or headers, headers, bodies)


def written(rules: Mapping[str, str]) -> str:
    """The text of a grammar with these rules."""
    return "\n".join(["%llguidance {}", *(f"{name}: {rule}" for name, rule in rules.items())])


def _body(kind: MessageKind) -> str | None:
    """The grammar of what a message says; a schema alone is not written in Lark, which takes time to read."""
    if kind.rule is None:
        return None
    if kind.rule.startswith(_JSON):
        return f'{{"grammars": [{{"json_schema": {kind.rule.removeprefix(_JSON)}}}]}}'
    return written({"start": kind.rule})
