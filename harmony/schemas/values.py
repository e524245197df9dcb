"""What can be said of the values and texts that a schema is about, without a compiler."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import types_named
from harmony.schemas.formats import CHECKED_OUTSIDE, LONGEST, PATTERNS
from harmony.schemas.patterns import exactly, in_mask, none_of, of_length, one_of, texts_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from harmony.schemas.node import Node

_EXACT_INTEGERS: Final = 2**53
_UNSPELLABLE: Final = frozenset(map(chr, {*range(32), 127})) - frozenset("\b\t\n\f\r")
_MOST_ARRANGEMENTS: Final = 65
_FEW_NAMES: Final = 24
_ABOUT_STRINGS: Final = frozenset(("anyOf", "oneOf", "if", "$ref", "$dynamicRef", "$recursiveRef"))
_NOT_ONLY_A_PATTERN: Final = CHECKED_OUTSIDE | LONGEST.keys()


def is_spellable(value: Any) -> bool:
    """Whether the mask can write a value: no control character in it lacks a short escape."""
    return all(_UNSPELLABLE.isdisjoint(text) for text in _texts(value))


def are_countable(value: Any) -> bool:
    """Whether float64 tells all numbers in a value from their neighbours."""
    if isinstance(value, list | dict):
        return all(map(are_countable, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or abs(value) < _EXACT_INTEGERS


def identity(value: Any) -> Any:
    """A key that two JSON values share if and only if they are equal: 1 is 1.0, and true is not 1."""
    match value:
        case bool():
            return ("boolean", value)
        case list():
            return ("array", tuple(map(identity, value)))
        case dict():
            return ("object", frozenset((name, identity(member)) for name, member in value.items()))
    return value


def possible_values(node: Node) -> list[Any] | None:
    """The distinct values that a subschema allows at most, if it lists them."""
    keywords = node.resolved().keywords
    listed = keywords.get("enum", [keywords["const"]] if "const" in keywords else None)
    if listed is None or not all(is_spellable(value) and are_countable(value) for value in listed):
        return None
    return list({identity(value): value for value in listed}.values())


def arrangements(values: list[Any], least: int, most: int | None) -> list[list[Any]] | None:
    """All arrays of these values without repetition, unless there are too many."""
    listed: list[list[Any]] = []
    for length in range(least, min(len(values), len(values) if most is None else most) + 1):
        for arrangement in permutations(values, length):
            if len(listed) == _MOST_ARRANGEMENTS:
                return None
            listed.append(list(arrangement))
    return listed


def longest_array(node: Node) -> int | None:
    """The most items that an array may have, if its own keywords say so."""
    keywords = node.keywords
    lengths = [int(keywords["maxItems"])] if "maxItems" in keywords else []
    if isinstance(keywords.get("items"), list):
        if keywords.get("additionalItems") is False:
            lengths.append(len(keywords["items"]))
    elif keywords.get("items") is False:
        lengths.append(len(keywords.get("prefixItems", ())))
    return min(lengths, default=None)


def names_pattern(node: Node) -> list[str] | None:
    """Patterns that all match a string if and only if a subschema holds for it, if there are any."""
    node = node.resolved()
    if isinstance(node.schema, bool):
        return [] if node.schema else [one_of(())]
    patterns: list[str] = []
    for keyword, value in node.keywords.items():
        if keyword == "allOf":
            for part in value:
                found = names_pattern(node.beside(part))
                if found is None:
                    return None
                patterns += found
            continue
        stated = _strings(node, keyword, value)
        portable = None if stated is None else in_mask(stated)
        if portable is None:
            return None
        patterns += [portable] if portable else []
    return patterns


def by_name(patterns: Collection[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The names that patterns match, each with its patterns, and the patterns that match more than a few."""
    names: dict[str, list[str]] = {}
    others = []
    for pattern in patterns:
        texts = texts_of(pattern, _FEW_NAMES)
        if texts is None or not all(map(is_spellable, texts)):
            others.append(pattern)
        else:
            for text in texts:
                names.setdefault(text, []).append(pattern)
    return names, others


def _strings(node: Node, keyword: str, value: Any) -> str | None:
    """A pattern for the strings for which a keyword holds, empty if it holds for all."""
    match keyword:
        case "type":
            return "" if "string" in types_named(value) else one_of(())
        case "const" | "enum":
            listed = value if keyword == "enum" else [value]
            return one_of([text for text in listed if isinstance(text, str) and is_spellable(text)])
        case "pattern":
            return str(value)
        case "format":
            known = value in PATTERNS or value in CHECKED_OUTSIDE
            return "" if not known else exactly(PATTERNS[value]) if value not in _NOT_ONLY_A_PATTERN else None
        case "minLength":
            return of_length(int(value), None)
        case "maxLength":
            return of_length(0, int(value))
        case "not":
            excluded = node.beside(value).keywords
            if len(excluded) == 1 and excluded.keys() <= {"const", "enum"}:
                listed = excluded.get("enum", [excluded.get("const")])
                return none_of([text for text in listed if isinstance(text, str)])
            return None
    return None if keyword in _ABOUT_STRINGS else ""


def _texts(value: Any) -> list[str]:
    """All strings in a value, names of properties among them."""
    match value:
        case str():
            return [value]
        case list():
            return [text for part in value for text in _texts(part)]
        case dict():
            return [*value, *(text for part in value.values() for text in _texts(part))]
    return []
