"""A function's JSON schema as the TypeScript signature that the model was trained to read.

The text is that of openai-harmony 0.0.8, which states only part of a schema: `anyOf`, `allOf`, `$ref`,
`const`, `additionalProperties` and an `enum` without a type leave no trace in the prompt.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from harmony.errors import RenderError
from harmony.numbers import number_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Schema = dict[str, Any]

_DEEPER: Final = "    "
_VARIANT: Final = "   "
_to_json: Final = json.JSONEncoder(allow_nan=False).encode


def function_signature(name: str, parameters: Schema | None) -> str:
    """`type name = (_: {...}) => any;` for a tool whose arguments have this JSON schema.

    Raises `RenderError` if the schema is not JSON or nested too deeply.
    """
    if parameters is None:
        return f"type {name} = () => any;"
    try:
        return f"type {name} = (_: {_cached_type(_to_json(parameters))}) => any;"
    except (TypeError, ValueError, RecursionError) as error:
        raise RenderError(f"The parameters of the tool {name!r} are not plain JSON: {error}.") from error


def text_lines(text: str) -> list[str]:
    """The lines of a text, ended by `\\n` or `\\r\\n` alone; a last empty one does not count."""
    *ended, rest = text.split("\n")
    lines = [line.removesuffix("\r") for line in ended]
    return [*lines, rest] if rest else lines


@lru_cache(maxsize=1024)
def _cached_type(schema: str) -> str:
    return type_text(json.loads(schema))


def type_text(schema: Any, indent: str = "") -> str:
    """The TypeScript type of a JSON schema, whose lines after the first begin with `indent`."""
    if not isinstance(schema, dict):
        return "any"
    if isinstance(schema.get("oneOf"), list):
        return _union_text(schema["oneOf"], indent)
    match schema.get("type"):
        case list() as names:
            return " | ".join("number" if n == "integer" else n for n in names if isinstance(n, str)) or "any"
        case "object":
            return _object_text(schema, indent)
        case "array":
            return f"{type_text(schema['items'], indent)}[]" if "items" in schema else "Array<any>"
        case "string":
            return " | ".join(f'"{name}"' for name in _strings(schema.get("enum"))) or "string"
        case "number" | "integer":
            return "number"
        case "boolean":
            return "boolean"
    return "any"


def _union_text(variants: list[Any], indent: str) -> str:
    return "".join(
        f"\n{indent} | {_nullable_type(variant, indent + _VARIANT)}"
        + _trailing_comment(_description(variant), _default_text(variant, bare_enum=False))
        for variant in variants
    )


def _object_text(schema: Schema, indent: str) -> str:
    properties = schema.get("properties")
    required = list(_strings(schema.get("required")))
    lines = [f"{indent}// {schema['description']}\n"] if isinstance(schema.get("description"), str) else []
    lines.append("{\n")
    if isinstance(properties, dict):
        for name, value in properties.items():
            key = name if name in required else f"{name}?"
            lines += _property_lines(key, value, indent)
    lines.append(f"{indent}}}")
    return "".join(lines)


def _property_lines(key: str, schema: Any, indent: str) -> Iterator[str]:
    yield from _comment_lines(schema, indent)
    if isinstance(_get(schema, "oneOf"), list):
        yield from _choice_lines(key, schema, indent)
        return
    default = None if _has(schema, "oneOf") else _default_text(schema, bare_enum=True)
    yield f"{indent}{key}: {_nullable_type(schema, indent + _DEEPER)},{_trailing_comment(default)}\n"


def _comment_lines(schema: Any, indent: str) -> Iterator[str]:
    title, examples = _get(schema, "title"), _get(schema, "examples")
    if isinstance(title, str):
        yield f"{indent}// {title}\n{indent}//\n"
    if not _has(schema, "oneOf") and (description := _description(schema)) is not None:
        yield f"{indent}// {description}\n"
    if isinstance(examples, list) and examples:
        yield f"{indent}// Examples:\n"
        yield from (f'{indent}// - "{example}"\n' for example in _strings(examples))


def _choice_lines(key: str, schema: Schema, indent: str) -> Iterator[str]:
    variants, description = schema["oneOf"], _description(schema)
    stated_above = description is not None and not (variants and _description(variants[0]) == description)
    if stated_above:
        yield f"{indent}// {description}\n"
    if (default := _default_text(schema, bare_enum=True)) is not None:
        yield f"{indent}// {default}\n"
    yield f"{indent}{key}:\n"
    for index, variant in enumerate(variants):
        said = _description(variant)
        if said == description or (index == 0 and stated_above):
            said = None
        comment = _trailing_comment(said, _default_text(variant, bare_enum=True))
        yield f"{indent} | {_nullable_type(variant, indent + _VARIANT)}{comment}\n"
    yield f"{indent},\n"


def _nullable_type(schema: Any, indent: str) -> str:
    text = type_text(schema, indent)
    return f"{text} | null" if _get(schema, "nullable") is True and "null" not in text else text


def _default_text(schema: Any, *, bare_enum: bool) -> str | None:
    if not _has(schema, "default"):
        return None
    default = schema["default"]
    if not isinstance(default, str):
        return f"default: {_compact_json(default)}"
    choices = schema.get("enum")
    is_enum = isinstance(choices, list) and bool(choices)
    if not is_enum:
        return f'default: "{default}"'
    return f"default: {default}" if bare_enum else f"default: {_compact_json(default)}"


def _compact_json(value: Any) -> str:
    match value:
        case dict():
            members = (f"{_compact_json(key)}:{_compact_json(member)}" for key, member in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(map(_compact_json, value))}]"
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
    return number_text(value)


def _trailing_comment(*parts: str | None) -> str:
    said = [part for part in parts if part is not None]
    return f" // {' '.join(said)}" if said else ""


def _description(schema: Any) -> str | None:
    description = _get(schema, "description")
    return description if isinstance(description, str) else None


def _get(schema: Any, key: str) -> Any:
    return schema.get(key) if isinstance(schema, dict) else None


def _has(schema: Any, key: str) -> bool:
    return isinstance(schema, dict) and key in schema


def _strings(values: Any) -> Iterable[str]:
    return (value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
