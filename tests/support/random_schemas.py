"""Random JSON schemas of what models are asked for: nested, optional, bounded, patterned, recursive."""

from random import Random
from typing import Any

Schema = dict[str, Any]

NAMES = (
    "name",
    "age",
    "id",
    "tags",
    "Größe",
    "a",
    "value",
    "unit",
    'quo"te',
    "next",
    "kind",
    "items",
    "x-1",
    "日",
)
WORDS = ("red", "green", "blue", "", "é", 'say "hi"', "a/b", "<|end|>", "null", "-1", "日本", "tab\t")
PATTERNS = (
    r"^[A-Z]{3}-[0-9]{4}$", r"^(yes|no|maybe not)$", r"[0-9]+\.[0-9]{2}", r"^#[0-9a-f]{6}$", r"^\S+@\S+$",
    r"^[a-z]+(_[a-z]+)*$", r"^.{3,5}$", r"^[^\"]*$", r"^\d{1,3}(,\d{3})*$", r"^a|b$", r"^\w+ \w+$",
)  # fmt: skip
FORMATS = ("uuid", "ipv4", "email", "ipv6")


def random_schema(random: Random, depth: int = 3) -> Schema:
    """An object with up to five properties, nested at most `depth` deep."""
    if random.random() < 0.1:
        return _tree(random)
    return _object(random, depth)


def _any(random: Random, depth: int) -> Schema:
    kinds = [_string, _string, _integer, _number, _choice, _constant, _boolean]
    if depth:
        kinds += [_object, _object, _array, _array, _union, _pair, _map]
    return random.choice(kinds)(random, depth - 1)


def _object(random: Random, depth: int) -> Schema:
    names = random.sample(NAMES, random.randrange(6))
    schema: Schema = {
        "type": "object",
        "properties": {name: _any(random, depth) for name in names},
        "required": [name for name in names if random.random() < 0.7],
    }
    if random.random() < 0.8:
        schema["additionalProperties"] = False
    return schema


def _map(random: Random, depth: int) -> Schema:
    return {
        "type": "object",
        "additionalProperties": _any(random, depth),
        "minProperties": random.choice((0, 1)),
    }


def _array(random: Random, depth: int) -> Schema:
    least = random.choice((0, 0, 1, 2))
    bounds = random.choice(({}, {"maxItems": least + random.randrange(4)}))
    return {"type": "array", "items": _any(random, depth), "minItems": least, **bounds}


def _pair(random: Random, depth: int) -> Schema:
    parts = [_any(random, depth), _any(random, depth)]
    return {"type": "array", "prefixItems": parts, "items": False, "minItems": 2}


def _union(random: Random, depth: int) -> Schema:
    return {"anyOf": [_any(random, depth), random.choice(({"type": "null"}, _any(random, depth)))]}


def _string(random: Random, depth: int) -> Schema:
    kind = random.random()
    if kind < 0.15:
        return {"type": "string", "pattern": random.choice(PATTERNS)}
    if kind < 0.3:
        return {"type": "string", "format": random.choice(FORMATS)}
    if kind < 0.5:
        return {"type": "string", "minLength": random.randrange(9), "maxLength": 8 + random.randrange(40)}
    return {"type": "string"}


def _integer(random: Random, depth: int) -> Schema:
    low = random.choice((-1000, -5, 0, 1, 17, 123456))
    return {"type": "integer"} | random.choice(
        ({}, {"minimum": low}, {"minimum": low, "maximum": low + random.randrange(5000)}, {"multipleOf": 5})
    )


def _number(random: Random, depth: int) -> Schema:
    low = random.choice((-2.5, 0, 0.25, 99))
    return {"type": "number"} | random.choice(
        ({}, {"minimum": low}, {"exclusiveMinimum": low, "maximum": low + 1.5})
    )


def _choice(random: Random, depth: int) -> Schema:
    return {"enum": [*random.sample(WORDS, random.randrange(1, 5)), *random.sample((1, 2.5, None, True), 1)]}


def _constant(random: Random, depth: int) -> Schema:
    return {"const": random.choice((*WORDS, 7, None, False))}


def _boolean(random: Random, depth: int) -> Schema:
    return {"type": "boolean"}


def _tree(random: Random) -> Schema:
    """A schema that contains itself: a list of nodes, each with a name and maybe nodes below."""
    node = {
        "type": "object",
        "properties": {
            "name": _string(random, 0),
            "below": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        },
        "required": ["name", "next"] if random.random() < 0.5 else ["below"],
        "additionalProperties": False,
    }
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}
