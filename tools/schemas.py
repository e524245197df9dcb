"""Make pydantic's JSON schema say all it can in the signature that the model reads.

The harmony format renders a schema as TypeScript and drops `anyOf`, `allOf`, `$ref` and `const`. So here
references are written out where they do not recurse, `X | None` becomes X (not required) or its nullable
form, other unions become a list of types or `oneOf`, a constant becomes an `enum` of one, and the titles
that pydantic derives from names go. What stays lost in the prompt, such as bounds and patterns, is still
checked when the function is called.
"""

from typing import Any

Schema = dict[str, Any]

_NULL = {"type": "null"}
_DEFINITION = "#/$defs/"


def simplify(schema: Schema) -> Schema:
    """An object's schema, simplified; a new value, with `$defs` only for types that contain themselves."""
    definitions: dict[str, Schema] = schema.get("$defs", {})
    recursive: set[str] = set()
    simple = _simple(
        {key: value for key, value in schema.items() if key != "$defs"}, definitions, (), recursive
    )
    written: dict[str, Schema] = {}
    while missing := sorted(recursive - written.keys()):
        for name in missing:
            written[name] = _simple(definitions[name], definitions, (name,), recursive)
    return simple | {"$defs": written} if written else simple


def _simple(
    schema: Schema, definitions: dict[str, Schema], inside: tuple[str, ...], recursive: set[str]
) -> Schema:
    """One schema; `inside` names the definitions being written out, `recursive` collects those met again."""

    def deeper(part: Any) -> Any:
        return _simple(part, definitions, inside, recursive) if isinstance(part, dict) else part

    name = str(schema.get("$ref", "")).removeprefix(_DEFINITION)
    if name in definitions:
        if name in inside:
            recursive.add(name)
            return schema
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _simple(definitions[name] | own, definitions, (*inside, name), recursive)
    simple: Schema = {}
    for key, value in schema.items():
        if key in ("title", "discriminator"):
            continue
        if key in ("properties", "patternProperties"):
            simple[key] = {field: _field(deeper(part)) for field, part in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            simple[key] = [deeper(part) for part in value]
        else:
            simple[key] = deeper(value) if key in ("items", "additionalProperties") else value
    if "const" in simple:
        simple["enum"] = [simple.pop("const")]
    return _union(simple) if "anyOf" in simple else simple


def _field(schema: Schema) -> Schema:
    """A property; one that may be left out as None is simply optional."""
    if "default" not in schema or schema["default"] is not None:
        return schema
    return {
        key: value for key, value in schema.items() if key not in ("default", "nullable")
    } | _without_null(schema)


def _without_null(schema: Schema) -> Schema:
    types = schema.get("type")
    if not isinstance(types, list) or "null" not in types:
        return {}
    rest = [name for name in types if name != "null"]
    return {"type": rest[0] if len(rest) == 1 else rest}


def _union(schema: Schema) -> Schema:
    """`anyOf` as a list of types where all members are bare, as one nullable schema, or as `oneOf`."""
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    members = schema["anyOf"]
    if all(member.keys() == {"type"} and isinstance(member["type"], str) for member in members):
        return {"type": [member["type"] for member in members]} | own
    present = [member for member in members if member != _NULL]
    nullable = {"nullable": True} if len(present) < len(members) else {}
    return (present[0] if len(present) == 1 else {"oneOf": present}) | nullable | own
