"""What the grammar compiler, llguidance, says of a mask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.plain import plain_mask

if TYPE_CHECKING:
    from harmony.schemas.algebra import Mask

OPTIONS: Final = {
    # Room to lay out the JSON, yet no endless blanks.
    "whitespace_pattern": r"\x20|\r?\n[\x20\t]{0,48}",
    # All but \u: with it, llguidance 1.9.1 lets "\u0061" stand for the key "a" and evade what "a" must be.
    "json_allowed_escapes": 'nrbtf\\"',
}
"""The `x-guidance` at the root of every mask."""

_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_NO_VALUE: Final = "Unsatisfiable schema"
_IN_A_DEFINITION: Final = "while processing"
_HASTE: Final = 1_000
"""Lexer fuel that is enough to prove that there is no value, which comes before the lexer is built."""


LARGEST_PLAIN: Final = 20_000
"""The most characters of a plain mask that is taken unseen."""


def with_options(mask: dict[str, Any]) -> str:
    """A mask as the compiler takes it."""
    return _JSON.encode({**mask, "x-guidance": OPTIONS})


def complaint(mask: dict[str, Any], lexer_fuel: int | None = None) -> str | None:
    """Why the compiler refuses a mask, or None if it takes it."""
    text = with_options(mask)
    if len(text) < LARGEST_PLAIN and plain_mask(mask) is not None:
        return None
    from llguidance import LLMatcher, LLParserLimits  # only what decodes needs it

    limits = LLParserLimits(verbose_errors=False, initial_lexer_fuel=lexer_fuel)
    return LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(text), limits=limits) or None


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
