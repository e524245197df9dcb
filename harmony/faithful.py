"""A function's JSON schema as a TypeScript signature that says all of it.

The opt-in beside `harmony.signatures`, whose text is that of openai-harmony. What both can say looks the
same here; what that one loses or breaks is said: unions (`anyOf`, lists of types, `nullable`), `allOf`,
references (what is used once stands in its place, the rest gets a name), constants, enums of any values,
tuples, records, descriptions of several lines, and every other constraint in a comment. The text is valid
TypeScript whatever the schema: nothing in it leaves its comment or its quotes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from harmony.errors import RenderError
from harmony.references import References, place_of, references_in
from harmony.typescript import (
    ANY,
    INTEGER,
    NEVER,
    NULL,
    Type,
    comment_lines,
    intersection,
    key_text,
    literal,
    notes_within,
    trailing_comment,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harmony.references import Place

    Schema = dict[str, Any]

_DEEPER: Final = 4
_VARIANT: Final = 3
_SHORT: Final = 60
_CONSTRAINTS: Final = (
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "pattern", "format", "contentEncoding", "contentMediaType", "minItems", "maxItems", "uniqueItems",
    "contains", "minContains", "maxContains", "minProperties", "maxProperties", "dependentRequired",
    "dependentSchemas", "dependencies", "not", "if", "then", "else", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema", "deprecated", "readOnly", "writeOnly",
)  # fmt: skip
_MARKS: Final = frozenset(
    {"uniqueItems", "exclusiveMinimum", "exclusiveMaximum", "deprecated", "readOnly", "writeOnly"}
)
"""Keywords whose false is what holds without them."""
_OTHERS: Final = frozenset({"additionalProperties", "patternProperties"})
_OF_OBJECTS: Final = _OTHERS | {"properties", "required", "propertyNames"}
_OF_ARRAYS: Final = frozenset({"items", "prefixItems"})
_SPECIFIC: Final = _OF_OBJECTS | _OF_ARRAYS | {"const", "enum"}


def faithful_signature(name: str, parameters: Schema | None) -> str:
    """`type name = (_: {...}) => any;`, and behind it the named types that it uses.

    Raises `RenderError` if the schema is not JSON or nested too deeply.
    """
    if parameters is None:
        return f"type {name} = () => any;"
    try:
        return _cached_signature(name, json.dumps(parameters, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise RenderError(f"The parameters of the tool {name!r} are not plain JSON: {error}.") from error


@lru_cache(maxsize=1024)
def _cached_signature(name: str, schema: str) -> str:
    return _Signature(name, json.loads(schema)).text()


class _Signature:
    """Writes one signature. A margin is the column of a property; what lies in it is four deeper."""

    def __init__(self, name: str, parameters: Any) -> None:
        self._name = name
        self._root = parameters
        self._references = References(parameters)
        self._named: list[Place] = []
        self._names: dict[Place, str] = {}
        self._taken: set[str] = set()

    def text(self) -> str:
        arguments = self._type(self._root, -_DEEPER)
        about = "".join(comment_lines(arguments.about, 0))
        comment = trailing_comment(*arguments.notes)
        signature = f"type {self._name} = (_: {about}{arguments.text}) => any;{comment}"
        return "\n\n".join([signature, *self._declarations()])

    def _declarations(self) -> Iterator[str]:
        """The named types; one that only another of them uses is named while that one is written."""
        for place in self._named:
            type_ = self._type(self._references.at(place), -_DEEPER)
            about = "".join(comment_lines(type_.about, 0))
            yield f"{about}type {self._names[place]} = {type_.text};{trailing_comment(*type_.notes)}"

    def _type(self, schema: Any, margin: int) -> Type:
        if not isinstance(schema, dict):
            return NEVER if schema is False else ANY
        choices = {key: self._choice(schema, key, margin) for key in ("oneOf", "anyOf") if key in schema}
        parts = [choice for choice in choices.values() if not choice.is_vague]
        if not parts or _SPECIFIC & schema.keys():
            parts.insert(0, self._own_type(schema, margin))
        if isinstance(schema.get("$ref"), str):
            parts.append(self._referred(schema["$ref"], margin))
        parts += [self._type(part, margin) for part in _list(schema.get("allOf"))]
        type_ = intersection(parts)
        if schema.get("nullable") is True and "null" not in type_.text.split(" | "):
            type_ = union([type_, NULL], margin)
        unsaid = [key for key, choice in choices.items() if choice.is_vague]
        notes = [*_notes(schema, [*_CONSTRAINTS, *unsaid]), *type_.notes, *_default(schema, type_.text)]
        notes = [INTEGER, *notes] if INTEGER in notes else notes
        return replace(type_, about=_about(schema, type_), notes=tuple(dict.fromkeys(notes)))

    def _own_type(self, schema: Schema, margin: int) -> Type:
        """What a schema says by itself, without the schemas that it is combined of."""
        if "const" in schema:
            return Type(literal(schema["const"]))
        if isinstance(schema.get("enum"), list):
            values = [literal(value) for value in schema["enum"]]
            return Type(" | ".join(values) or "never", is_compound=len(values) > 1)
        match schema.get("type"):
            case list() as names:
                several = dict.fromkeys(name for name in names if isinstance(name, str))
                return union([self._typed(name, schema, margin) for name in several] or [ANY], margin)
            case None if _OF_ARRAYS & schema.keys():
                return self._array(schema, margin)
            case None if _OF_OBJECTS & schema.keys():
                return self._object(schema, margin)
            case name:
                return self._typed(name, schema, margin)

    def _typed(self, name: Any, schema: Schema, margin: int) -> Type:
        match name:
            case "object":
                return self._object(schema, margin)
            case "array":
                return self._array(schema, margin)
            case "integer":
                return Type("number", notes=(INTEGER,))
            case "string" | "number" | "boolean" | "null":
                return Type(name)
        return ANY

    def _choice(self, schema: Schema, key: str, margin: int) -> Type:
        """The union of the variants; one without a type is of the type that stands beside them."""
        variants = _list(schema[key])
        several = sum(variant != {"type": "null"} for variant in variants) > 1
        inner = max(margin, 0) + _VARIANT - _DEEPER if several else margin
        types = [self._type(_with_type(variant, schema), inner) for variant in variants]
        return union(types, margin, in_lines=several and key == "oneOf") if types else ANY

    def _referred(self, reference: str, margin: int) -> Type:
        """What a reference leads to: in its place if it is used once or is short, else its name."""
        place = place_of(reference)
        target = None if place is None else self._references.at(place)
        if place is None or target is None:
            return Type("any", notes=(f"$ref: {literal(reference)}",))
        if place not in self._names:
            if not self._references.is_shared(place):
                return self._type(target, margin)
            if not any(references_in(target)):
                type_ = self._type(target, margin)
                if type_.is_short and len(type_.text) <= _SHORT:
                    return type_
            self._give_name(place)
        return Type(self._names[place])

    def _give_name(self, place: Place) -> None:
        stem = re.sub(r"\W", "_", f"{self._name}_{place[-1] if place else 'arguments'}", flags=re.ASCII)
        name = stem
        while name in self._taken:
            name = f"{stem}_{len(self._taken)}"
            stem += "_"
        self._taken.add(name)
        self._names[place] = name
        self._named.append(place)

    def _array(self, schema: Schema, margin: int) -> Type:
        if first := _list(schema.get("prefixItems")):
            return self._tuple(first, schema.get("items"), schema.get("minItems"), margin)
        if first := _list(schema.get("items")):
            return self._tuple(first, schema.get("additionalItems"), schema.get("minItems"), margin)
        if "items" not in schema:
            return Type("Array<any>")
        item = self._type(schema["items"], margin)
        return Type(f"{item.operand}[]", notes=notes_within("items", item))

    def _tuple(self, first: Sequence[Any], rest: Any, least: Any, margin: int) -> Type:
        texts: list[str] = []
        notes: list[str] = []
        for index, item in enumerate(self._type(schema, margin) for schema in first):
            is_optional = isinstance(least, int) and index >= least
            texts.append(f"{item.operand}?" if is_optional else item.text)
            notes += notes_within(f"item {index + 1}", item)
        if rest not in (None, False):
            more = self._type(rest, margin)
            texts.append(f"...{more.operand}[]")
            notes += notes_within("further items", more)
        return Type(f"[{', '.join(texts)}]", notes=tuple(notes))

    def _object(self, schema: Schema, margin: int) -> Type:
        stated = schema.get("properties")
        properties = dict(stated) if isinstance(stated, dict) else {}
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        for name in required:
            properties.setdefault(name, True)
        others = self._others(schema, margin + _DEEPER)
        if not properties and not isinstance(stated, dict) and others != NEVER:
            return self._record(schema, others, margin)
        pad, lines = " " * (margin + _DEEPER), ["{\n"]
        for name, value in properties.items():
            lines += self._property(name, value, name in required, margin + _DEEPER)
        if others != NEVER and _OTHERS & schema.keys():
            comment = trailing_comment(*_patterns(schema), others.about, *others.notes)
            lines.append(f"{pad}[key: string]: {others.text},{comment}\n")
        return Type("".join([*lines, pad, "}"]), notes=_notes(schema, ["propertyNames"]))

    def _record(self, schema: Schema, values: Type, margin: int) -> Type:
        keys = self._type(schema.get("propertyNames"), margin)
        notes = (*_patterns(schema), *notes_within("keys", keys), *notes_within("values", values))
        if keys.is_vague or keys.text == "string":
            return Type(f"Record<string, {values.text}>", notes=notes)
        return Type(f"Partial<Record<{keys.text}, {values.text}>>", notes=notes)

    def _others(self, schema: Schema, margin: int) -> Type:
        """The type of the properties that have no name here; never if there may be none."""
        stated = schema.get("patternProperties")
        patterns = stated if isinstance(stated, dict) else {}
        types = [self._type(pattern, margin) for pattern in patterns.values()]
        if not patterns or schema.get("additionalProperties"):
            types.append(self._type(schema.get("additionalProperties"), margin))
        return union(types, margin)

    def _property(self, name: str, schema: Any, is_required: bool, margin: int) -> Iterator[str]:
        type_ = self._type(schema, margin)
        if isinstance(schema, dict):
            yield from _title_lines(schema.get("title"), name, margin)
        yield from comment_lines(type_.about, margin)
        if isinstance(schema, dict):
            yield from _example_lines(schema.get("examples"), margin)
        key = key_text(name) if is_required else f"{key_text(name)}?"
        space = "" if type_.text.startswith("\n") else " "
        yield f"{' ' * margin}{key}:{space}{type_.text},{trailing_comment(*type_.notes)}\n"


def _with_type(variant: Any, schema: Schema) -> Any:
    """A variant that says no type of its own, with the type that stands beside it."""
    is_open = isinstance(variant, dict) and not {"type", "$ref", "const", "enum"} & variant.keys()
    return {"type": schema["type"], **variant} if is_open and "type" in schema else variant


def _about(schema: Schema, type_: Type) -> str:
    """The description of a schema, and that of what it refers to."""
    description = schema.get("description")
    said = [description if isinstance(description, str) else "", type_.about]
    return "\n".join(dict.fromkeys(filter(None, said)))


def _title_lines(title: Any, name: str, margin: int) -> Iterator[str]:
    """A title, unless it is only the name in another spelling, as pydantic makes them."""
    if isinstance(title, str) and _letters(title) != _letters(name):
        yield from comment_lines(title, margin)
        yield f"{' ' * margin}//\n"


def _example_lines(examples: Any, margin: int) -> Iterator[str]:
    pad = " " * margin
    if isinstance(examples, list) and examples:
        yield f"{pad}// Examples:\n"
        yield from (f"{pad}// - {literal(example)}\n" for example in examples)


def _notes(schema: Schema, keywords: Iterable[str]) -> tuple[str, ...]:
    """The constraints among these keywords; a tuple says its length by itself."""
    is_tuple = "prefixItems" in schema or isinstance(schema.get("items"), list)
    said = ("minItems", "maxItems") if is_tuple else ()
    return tuple(
        f"{keyword}: {literal(schema[keyword])}"
        for keyword in keywords
        if keyword in schema and keyword not in said and not _is_mute(keyword, schema[keyword])
    )


def _is_mute(keyword: str, value: Any) -> bool:
    return value is None or (value is False and keyword in _MARKS)


def _patterns(schema: Schema) -> tuple[str, ...]:
    """The patterns of the names of properties that have no name here."""
    patterns = schema.get("patternProperties")
    return tuple(f"keys: {literal(name)}" for name in patterns) if isinstance(patterns, dict) else ()


def _default(schema: Schema, text: str) -> tuple[str, ...]:
    """The default, bare if it is one of the values that the type names."""
    if "default" not in schema:
        return ()
    default = literal(schema["default"])
    is_named = isinstance(schema["default"], str) and default in text
    return (f"default: {default[1:-1] if is_named else default}",)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
