"""The subset of JSON Schema that OpenAI's Structured Outputs take with `strict`, and its limits.

Source: OpenAI's guide to Structured Outputs, section Supported schemas, as recorded in February 2026 at
https://jsonschemaprofiles.unitvectorylabs.com/schemas/openai. Keywords that it does not list as supported
count as breaches. Levels are counted as objects within objects, the root being the first; references are
not followed for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import Schema
from harmony.schemas.document import ROOT, Document, as_json
from harmony.schemas.keywords import escaped, known_keywords, subschemas

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PROPERTIES: Final = 5_000
MOST_LEVELS: Final = 10
MOST_CHARACTERS: Final = 120_000
"""Characters of names of properties and definitions, and of texts in `enum` and `const`."""
MOST_CHOICES: Final = 1_000
"""Values in all `enum` together."""
LARGE_ENUM: Final = 250
MOST_CHARACTERS_OF_A_LARGE_ENUM: Final = 15_000

FORMATS: Final = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)
_SUPPORTED: Final = frozenset(
    (
        *("type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties"),
        *("items", "minItems", "maxItems", "pattern", "format"),
        *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    )
)
_SAYING_WHAT: Final = ("type", "enum", "const", "anyOf", "$ref")


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a schema breaks, and the JSON pointer of the place where it does."""

    path: str
    rule: str


@dataclass(slots=True)
class _Counts:
    properties: int = 0
    characters: int = 0
    choices: int = 0


def first_breach(schema: Schema) -> Breach | None:
    """The first rule of the subset that a schema breaks, or None; raises `SchemaError` for what is none.

    >>> first_breach({"type": "object", "properties": {"a": {"type": "string"}}})
    Breach(path='#', rule='additionalProperties is to be false')
    """
    document = Document(as_json(schema))
    return next(_breaches(document), None)


def _breaches(document: Document) -> Iterator[Breach]:
    root = document.schema
    if not isinstance(root, dict) or root.get("type") != "object" or "anyOf" in root:
        yield Breach(ROOT, "the root is to be of type object, and no anyOf")
        return
    known, counts = known_keywords(document.draft), _Counts()
    waiting: list[tuple[str, Schema, int]] = [(ROOT, root, 0)]
    while waiting:
        path, node, level = waiting.pop()
        if isinstance(node, bool):
            yield Breach(path, "a schema is to be an object")
            continue
        if unsupported := [keyword for keyword in node if keyword in known - _SUPPORTED]:
            yield Breach(path, f"{unsupported[0]} is not supported")
        yield from (Breach(path, rule) for rule in _rules_broken(node))
        level += _is_object(node)
        if level > MOST_LEVELS:
            yield Breach(path, f"objects are to nest at most {MOST_LEVELS} levels deep")
        yield from (Breach(path, rule) for rule in _limits_passed(node, counts))
        waiting += [
            (f"{path}/{escaped(keyword)}{rest}", part, level)
            for keyword, value in reversed(node.items())
            if keyword != "additionalProperties"
            for rest, part in reversed(subschemas(keyword, value))
        ]


def _is_object(node: dict[str, Any]) -> bool:
    kind = node.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in node


def _rules_broken(node: dict[str, Any]) -> Iterator[str]:
    """The rules that one subschema breaks."""
    if not any(keyword in node for keyword in _SAYING_WHAT):
        yield f"a schema is to have one of {', '.join(_SAYING_WHAT)}"
    if _is_object(node):
        if node.get("additionalProperties") is not False:
            yield "additionalProperties is to be false"
        missing = [name for name in node.get("properties", {}) if name not in node.get("required", ())]
        if missing:
            yield f"all properties are to be required, {missing[0]} too; use a union with null instead"
    if node.get("format", "date") not in FORMATS:
        yield f"the format {node['format']} is not supported"


def _limits_passed(node: dict[str, Any], counts: _Counts) -> Iterator[str]:
    """The limits of the whole schema that it passes with this subschema."""
    choices = node.get("enum", [])
    texts = [text for text in choices if isinstance(text, str)]
    names = [
        *node.get("properties", ()),
        *node.get("$defs", ()),
        *node.get("definitions", ()),
        *([node["const"]] if isinstance(node.get("const"), str) else ()),
    ]
    counts.properties += len(node.get("properties", ()))
    counts.characters += sum(map(len, (*names, *texts)))
    counts.choices += len(choices)
    if len(choices) > LARGE_ENUM and sum(map(len, texts)) > MOST_CHARACTERS_OF_A_LARGE_ENUM:
        yield (
            f"an enum of more than {LARGE_ENUM} values is to have at most "
            f"{MOST_CHARACTERS_OF_A_LARGE_ENUM} characters"
        )
    if counts.properties > MOST_PROPERTIES:
        yield f"the schema is to have at most {MOST_PROPERTIES} properties"
    if counts.characters > MOST_CHARACTERS:
        yield f"names and values are to have at most {MOST_CHARACTERS} characters"
    if counts.choices > MOST_CHOICES:
        yield f"all enum together are to have at most {MOST_CHOICES} values"
