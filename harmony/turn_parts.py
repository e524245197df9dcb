"""The grammar of a turn in parts: its headers, and what each message says behind its own.

Special tokens are where messages begin and end, and no text can hold one, so what comes behind a header
depends on the header alone. A turn can be followed part by part, then: a small grammar has all the headers,
and each body has a grammar of its own, which is the same in every turn and is not needed before its header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BEGUN: Final = ("<|start|>", "assistant")


@dataclass(frozen=True, slots=True)
class MessageKind:
    """A kind of message: its header, up to `<|message|>`, what it says, and the token at its end.

    `rules` are those that the header needs. `rule` is that of what it says and `body` its name; without
    one it is any text. A turn begins no sooner than the grammar of an `awaited` body is compiled.
    """

    name: str
    header: str
    end: str
    rules: Mapping[str, str] = field(default_factory=dict)
    body: str = "TEXT"
    rule: str | None = None
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class TurnBody:
    """What a message says, its end token included: by a grammar, or any text; `last` ends the turn."""

    grammar: str | None
    end: str
    last: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class TurnParts:
    """The grammars of a turn's headers, and the body behind each.

    `first` is that of the first header, `rest` that of those after it; both begin with what is `begun` when
    a turn is sampled, and end with the special token `opening` and the name of a body, which stands for it.
    """

    first: str
    rest: str
    bodies: Mapping[str, TurnBody]
    begun: tuple[str, ...] = _BEGUN
    opening: str = "<|message|>"

    @classmethod
    def of(
        cls, first: Sequence[MessageKind], before: Sequence[MessageKind], last: Sequence[MessageKind]
    ) -> TurnParts:
        """The parts of a turn: messages of `first`, then any number of `before`, then one of `last`."""
        kinds = [*before, *last]
        bodies = {
            kind.name: TurnBody(_body(kind), kind.end, kind not in before, kind.awaited) for kind in kinds
        }
        return cls(_headers(first or kinds), _headers(kinds), bodies)


def written(rules: Mapping[str, str]) -> str:
    """The text of a grammar with these rules."""
    return "\n".join(["%llguidance {}", *(f"{name}: {rule}" for name, rule in rules.items())])


def _headers(kinds: Sequence[MessageKind]) -> str:
    rules = {"start": f'<|start|> "assistant" ({" | ".join(kind.name for kind in kinds)})'}
    for kind in kinds:
        rules |= kind.rules
        rules[kind.name] = f'{kind.header} <|message|> "{kind.name}"'
    return written(rules)


def _body(kind: MessageKind) -> str | None:
    return None if kind.rule is None else written({"start": f"body {kind.end}", "body": kind.rule})
