"""What the grammar compiler, llguidance, says of a mask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harmony.schemas.algebra import Mask

OPTIONS: Final = {
    # Room to lay out the JSON, yet no endless blanks.
    "whitespace_pattern": r"\x20|\r?\n[\x20\t]{0,48}",
    # All but \u: with it, llguidance 1.9.1 lets "\u0061" stand for the key "a" and evade what "a" must be.
    "json_allowed_escapes": 'nrbtf\\"',
}
"""The `x-guidance` at the root of every mask."""

_NO_VALUE: Final = "Unsatisfiable schema"
_IN_A_DEFINITION: Final = "while processing"
_HASTE: Final = 1_000
"""Lexer fuel that is enough to prove that there is no value, which comes before the lexer is built."""


_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EXCLUSIVE: Final = frozenset(("exclusiveMinimum", "exclusiveMaximum"))
_NUMERIC: Final = frozenset(("type", "minimum", "maximum")) | _EXCLUSIVE

_PLAIN: Final = {
    "object": frozenset(("type", "properties", "required", "additionalProperties")),
    "array": frozenset(("type", "items", "minItems", "maxItems")),
    "string": frozenset(("type", "minLength", "maxLength")),
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "boolean": frozenset(("type",)),
    "null": frozenset(("type",)),
}
"""Keywords, by type, that make no mask too hard for the compiler, and which it therefore need not see."""

_FARTHEST: Final = 10**6
"""The largest bound that is taken unseen."""

_LARGEST_PLAIN: Final = 20_000
"""The most characters of a mask that is taken unseen."""


def complaint(mask: dict[str, Any], lexer_fuel: int | None = None) -> str | None:
    """Why the compiler refuses a mask, or None if it takes it."""
    text = json.dumps({**mask, "x-guidance": OPTIONS})
    if len(text) < _LARGEST_PLAIN and is_plain(mask):
        return None
    from llguidance import LLMatcher, LLParserLimits  # only what decodes needs it

    limits = LLParserLimits(verbose_errors=False, initial_lexer_fuel=lexer_fuel)
    return LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(text), limits=limits) or None


def is_plain(mask: Mask) -> bool:
    """Whether a mask is of such a kind, as those of most tools are, that it compiles and has a value."""
    if isinstance(mask, bool):
        return mask
    if mask.keys() == {"anyOf"}:
        return all(map(is_plain, mask["anyOf"]))
    if "enum" in mask:
        return _is_plain_choice(mask)
    kind = mask.get("type")
    if not isinstance(kind, str) or not mask.keys() <= _PLAIN[kind]:
        return False
    members = mask.get("properties", {})
    others = mask.get("additionalProperties", True)
    return (
        _is_plain_span(mask)
        and all(map(is_plain, members.values()))
        and is_plain(mask.get("items", True))
        and (others is True or (others is False and members.keys() >= set(mask.get("required", ()))))
    )


def _is_plain_choice(mask: dict[str, Any]) -> bool:
    """Whether a mask says no more than that a value is one of some texts, or null, true or false."""
    choices, kind = mask["enum"], mask.get("type", "string")
    return (
        mask.keys() <= {"type", "enum"}
        and bool(choices)
        and all(isinstance(choice, str | bool | None) for choice in choices)
        and ("type" not in mask or (kind == "string" and all(isinstance(choice, str) for choice in choices)))
    )


def _is_plain_span(mask: dict[str, Any]) -> bool:
    """Whether the bounds in a mask are small whole numbers, and a number between them is left."""
    low = [mask[keyword] for keyword in _AT_LEAST if keyword in mask]
    high = [mask[keyword] for keyword in _AT_MOST if keyword in mask]
    if not all(isinstance(bound, int) and abs(bound) < _FARTHEST for bound in (*low, *high)):
        return False
    gap = 0 if mask.keys().isdisjoint(_EXCLUSIVE) else 2
    return not low or not high or max(low) + gap <= min(high)


def is_empty(mask: Mask, definitions: dict[str, Mask]) -> bool:
    """Whether the compiler proves that no value satisfies a mask; False where it cannot tell."""
    if isinstance(mask, bool):
        return not mask
    return says_empty(complaint(mask | {"$defs": needed(mask, definitions)}, _HASTE))


def says_empty(said: str | None) -> bool:
    """Whether a complaint is that the whole mask, and not only a definition in it, has no value."""
    return said is not None and said.startswith(_NO_VALUE) and _IN_A_DEFINITION not in said


def impossible_definition(said: str) -> str | None:
    """The name of the definition that has no value, if that is the complaint."""
    if not said.startswith(_NO_VALUE) or _IN_A_DEFINITION not in said:
        return None
    return said.split(_IN_A_DEFINITION, 1)[1].split("#/$defs/", 1)[1].split()[0]


def needed(mask: Mask, definitions: dict[str, Mask]) -> dict[str, Mask]:
    """The definitions that a mask refers to, directly or through others."""
    if not definitions:
        return {}
    needed: dict[str, Mask] = {}
    waiting: list[Any] = [mask]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            name = str(part.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in needed:
                needed[name] = definitions[name]
                waiting.append(definitions[name])
    return needed
