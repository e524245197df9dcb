"""The faithful profile says all that a schema says, in TypeScript that nothing can break."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field
from typescript import Node, admits, parse

import harmony
from harmony import (
    Conversation,
    DeveloperContent,
    Message,
    RenderConversationConfig,
    RenderOptions,
    Role,
    SystemContent,
    ToolDescription,
    TrainingConfig,
    Transcript,
)
from harmony.faithful import faithful_signature
from harmony.messages import SchemaProfile
from harmony.signatures import function_signature

if TYPE_CHECKING:
    from collections.abc import Callable

Schema = dict[str, Any]


def properties(**schemas: Any) -> Schema:
    """An object's schema, whose properties are all required."""
    return {"type": "object", "properties": schemas, "required": list(schemas)}


def written(schema: Any) -> str:
    """How a property `x` with this schema is written."""
    signature = faithful_signature("f", properties(x=schema))
    parse(signature)
    first, *lines, last = signature.splitlines()
    assert (first, last) == ("type f = (_: {", "}) => any;")
    return "\n".join(lines)


def arguments(signature: str) -> tuple[Node, dict[str, Node]]:
    """The type of the argument of a signature, and the named types."""
    declared = parse(signature)
    return declared["f"].parts[0], declared


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "x: string,"),
        ({"type": "integer"}, "x: number, // integer"),
        ({"type": "null"}, "x: null,"),
        ({}, "x: any,"),
        (True, "x: any,"),
        (False, "x: never,"),
        ({"const": "a"}, 'x: "a",'),
        ({"const": 1, "type": "integer"}, "x: 1,"),
        ({"enum": ["a", 1, None, True]}, 'x: "a" | 1 | null | true,'),
        ({"type": "integer", "enum": [1, 2]}, "x: 1 | 2,"),
        ({"enum": ['q"', "b\nc"]}, 'x: "q\\"" | "b\\nc",'),
        ({"enum": []}, "x: never,"),
        ({"type": ["string", "null"]}, "x: string | null,"),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "x: string[] | null,"),
        ({"type": "string", "nullable": True}, "x: string | null,"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x: string | null,"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "x: number | null, // integer, minimum: 1"),
        ({"anyOf": [{"type": "string"}, {}]}, 'x: any, // anyOf: [{"type":"string"},{}]'),
        ({"type": "string", "anyOf": [{"format": "date"}, {"format": "time"}]},
            'x:\n | string // format: "date"\n | string // format: "time"\n,'),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, 'x: ("a" | "b")[],'),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            "x: number[], // uniqueItems: true, items: integer"),
        ({"type": "array"}, "x: Array<any>,"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"const": 1}], "minItems": 2, "maxItems": 2},
            "x: [number, 1], // item 1: integer"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"enum": [1, 2]}], "minItems": 1,
            "items": {"type": "boolean"}}, "x: [string, (1 | 2)?, ...boolean[]],"),
        ({"type": "array", "items": [{"type": "string"}], "additionalItems": False}, "x: [string],"),
        ({"type": "object"}, "x: Record<string, any>,"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "x: Record<string, number>,"),
        ({"additionalProperties": {"type": "number"}, "propertyNames": {"enum": ["a", "b"]}},
            'x: Partial<Record<"a" | "b", number>>,'),
        ({"type": "object", "additionalProperties": False}, "x: {\n    },"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
            "x: {\n    a?: any,\n    [key: string]: number, // integer\n    },"),
        ({"type": "object", "patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            'x: Record<string, string>, // keys: "^a"'),
        ({"type": "object", "properties": {"a-b": {}, "$c": {}, "d": {}}, "required": ["d", "e"]},
            'x: {\n    "a-b"?: any,\n    $c?: any,\n    d: any,\n    e: any,\n    },'),
        ({"allOf": [{"type": "string"}]}, "x: string,"),
        ({"allOf": [properties(a={"type": "string"}), {"anyOf": [properties(b={}), properties(c={})]}]},
            "x: {\n    a: string,\n    } & (\n | {\n   b: any,\n   }\n | {\n   c: any,\n   }\n),"),
        ({"type": "string", "minLength": 1, "pattern": "^a", "default": "a"},
            'x: string, // minLength: 1, pattern: "^a", default: "a"'),
        ({"type": "string", "enum": ["a", "b"], "default": "a"}, 'x: "a" | "b", // default: a'),
        ({"type": "integer", "minimum": 0}, "x: number, // integer, minimum: 0"),
        ({"type": "array", "items": {}, "maxItems": 0, "uniqueItems": False}, "x: any[], // maxItems: 0"),
        ({"type": "string", "deprecated": True, "readOnly": False}, "x: string, // deprecated: true"),
        ({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False},
            "x: {\n    a?: any,\n    }, // unevaluatedProperties: false"),
        ({"type": "string", "not": {"const": "a"}}, 'x: string, // not: {"const":"a"}'),
        ({"$ref": "https://example.com/a"}, 'x: any, // $ref: "https://example.com/a"'),
        ({"$ref": "#/nowhere"}, 'x: any, // $ref: "#/nowhere"'),
        ({"type": "string", "description": "One.\nTwo.\r\n\nThree.\u2028Four.\n"},
            "// One.\n// Two.\n//\n// Three.\n// Four.\nx: string,"),
        ({"type": "string", "title": "X"}, "x: string,"),
        ({"type": "string", "title": "The\nX"}, "// The\n// X\n//\nx: string,"),
        ({"type": "string", "examples": ["a\nb", 1]}, '// Examples:\n// - "a\\nb"\n// - 1\nx: string,'),
        ({"oneOf": [{"const": 1, "description": "A\nb."}, {"type": "string"}], "description": "Either."},
            "// Either.\nx:\n | 1 // A b.\n | string\n,"),
        ({"type": "array", "items": {"oneOf": [{"type": "string", "description": "A."}, {"type": "null"}]}},
            "x: (string | null)[], // items: A."),
    ],
)  # fmt: skip
def test_each_keyword_is_said(schema: Any, text: str) -> None:
    """One property, whose every keyword shows."""
    assert written(schema) == text


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    """Where to send it.

    In full.
    """

    street: str
    number: Annotated[int, Field(ge=1, description="Of the house.\nNot of the flat.")]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool = True


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: Address
    nickname: str | None = None
    color: Color = Color.RED
    level: Level | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog]
    pair: tuple[int, str]
    many: tuple[float, ...]
    scores: dict[str, int]
    prices: dict[Color, float] = {}
    mode: Literal["a", "b"] | bool = "a"
    tree: Tree
    anything: Any = None
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=8)]


def test_the_schema_of_a_model_is_said_in_full() -> None:
    """Optional, Literal, enums, nested, tagged and recursive models, tuples, dicts and constraints."""
    signature = faithful_signature("order", Order.model_json_schema())
    assert (
        signature
        == """\
type order = (_: {
// Where to send it.
//
// In full.
address: {
    street: string,
    // Of the house.
    // Not of the flat.
    number: number, // integer, minimum: 1
    },
nickname?: string | null, // default: null
color?: "red" | "green", // default: red
level?: 1 | 2 | null, // default: null
pet:
 | order_Cat
 | order_Dog
,
pets: (order_Cat | order_Dog)[],
pair: [number, string], // item 1: integer
many: number[],
scores: Record<string, number>, // values: integer
prices?: Partial<Record<"red" | "green", number>>, // default: {}
mode?: "a" | "b" | boolean, // default: a
tree: order_Tree,
anything?: any, // default: null
code: string, // maxLength: 8, pattern: "^[a-z]+$"
}) => any;

type order_Cat = {
kind: "cat",
lives?: number, // integer, default: 9
};

type order_Dog = {
kind: "dog",
barks?: boolean, // default: true
};

type order_Tree = {
value: number, // integer
children?: order_Tree[], // default: []
};"""
    )
    parse(signature)


def test_a_recursive_model_is_a_named_type() -> None:
    """The root refers to it by its name; so does a schema that contains itself by `#`."""
    assert faithful_signature("f", Tree.model_json_schema()) == (
        "type f = (_: f_Tree) => any;\n\n"
        "type f_Tree = {\nvalue: number, // integer\nchildren?: f_Tree[], // default: []\n};"
    )
    itself = {"type": "object", "properties": {"x": {"$ref": "#"}}}
    assert faithful_signature("f", itself) == (
        "type f = (_: {\nx?: f_arguments,\n}) => any;\n\ntype f_arguments = {\nx?: f_arguments,\n};"
    )


def test_references_may_meet_in_a_circle() -> None:
    """Definitions that contain each other, and themselves under odd names, all get one name each."""
    definitions = {
        "a/b": properties(x={"$ref": "#/$defs/a~1b"}, y={"$ref": "#/%24defs/a%20b"}),
        "a b": properties(z={"$ref": "#/$defs/a~1b"}, i={"$ref": "#/properties/q/properties/x"}),
    }
    schema = properties(
        p={"$ref": "#/$defs/a b"}, q=properties(x={"type": "array", "items": {"type": "string"}})
    )
    signature = faithful_signature("f", {**schema, "$defs": definitions})
    assert list(parse(signature)) == ["f", "f_a_b", "f_a_b_1"]


def test_shared_types_are_written_once() -> None:
    """A schema whose expansion would fill the disk stays small."""
    definitions = {
        f"d{n}": properties(a={"$ref": f"#/$defs/d{n + 1}"}, b={"$ref": f"#/$defs/d{n + 1}"})
        for n in range(60)
    }
    schema = {**properties(x={"$ref": "#/$defs/d0"}), "$defs": {**definitions, "d60": {"type": "string"}}}
    signature = faithful_signature("f", schema)
    assert len(signature) < 5000
    assert len(parse(signature)) == 60
    several = {"type": ["object", "object"], "properties": {}}
    for _ in range(60):
        several = {"type": ["object", "object"], "properties": {"x": several}}
    assert len(faithful_signature("f", several)) < 20_000


def test_the_arguments_may_be_described_and_constrained() -> None:
    """What a schema says of the whole stands before it and behind it."""
    schema = {"type": "object", "description": "One.\nTwo.", "properties": {}, "minProperties": 1}
    assert (
        faithful_signature("f", schema) == "type f = (_: // One.\n// Two.\n{\n}) => any; // minProperties: 1"
    )
    assert faithful_signature("f", {}) == "type f = (_: any) => any;"
    assert faithful_signature("f", None) == "type f = () => any;"


words = st.text("ab cd.é/*\"'<|>{}", min_size=1, max_size=8).map(str.strip).filter(bool)
names = st.sampled_from(["a", "b1", "c_d", "É"])


def plain_schemas(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Objects and arrays of schemas that both profiles write alike."""
    described = st.builds(
        lambda schema, said: {**schema, **said},
        inner,
        st.fixed_dictionaries({}, optional={"description": words}),
    )
    return st.builds(
        lambda fields, required: {"type": "object", "properties": fields, "required": required},
        st.dictionaries(
            names, described.filter(lambda s: s["type"] != "object" or "description" not in s), max_size=3
        ),
        st.lists(names, max_size=0),
    )


scalars = st.one_of(
    st.builds(
        lambda kind, more: {"type": kind, **more},
        st.sampled_from(["string", "boolean", "number"]),
        st.fixed_dictionaries({}, optional={"default": st.booleans() | st.integers(0, 9) | st.just("x")}),
    ),
    st.sampled_from(
        [
            {"type": "string", "enum": ["c", "f"], "default": "c"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "array"},
            {"type": ["number", "string"], "default": -1},
            {"type": "string", "title": "Another name", "examples": ["a"]},
            {"type": "string", "nullable": True},
        ]
    ),
)


@given(st.recursive(scalars, plain_schemas, max_leaves=6))
def test_what_both_profiles_can_say_looks_the_same(schema: Schema) -> None:
    """Names, optional marks, comments, defaults and nesting are those the model was trained to read."""
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    assert faithful_signature("f", parameters) == function_signature("f", parameters)


def test_the_built_in_tools_look_the_same(encoding: harmony.HarmonyEncoding) -> None:
    """The browser and python texts stay those that the model was trained on."""
    system = SystemContent.new().with_browser_tool().with_python_tool()
    message = Message.from_role_and_content(Role.SYSTEM, system)
    faithful = encoding.render(message, RenderOptions(schema_profile="faithful"))
    assert faithful == encoding.render(message)


keys = st.sampled_from(["a", "b", "c-d"])
instances = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b", 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def typed_schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas whose keywords stand with their type, as they do in schemas that are meant."""
    fields = st.dictionaries(keys, inner, max_size=2)
    some = st.lists(inner, min_size=1, max_size=3)
    tuples = some.flatmap(
        lambda first: st.builds(
            lambda least, rest: {"prefixItems": first, "minItems": least, "items": rest},
            st.integers(0, len(first)),
            st.just(False) | inner,
        )
    )
    return st.one_of(
        st.builds(
            lambda fields, required, others: {
                "type": "object",
                "properties": fields,
                "required": required,
                **others,
            },
            fields,
            st.lists(keys, max_size=2),
            st.fixed_dictionaries({}, optional={"additionalProperties": st.booleans() | inner}),
        ),
        st.builds(lambda inner: {"type": "object", "additionalProperties": inner}, inner),
        st.builds(lambda inner: {"type": "array", "items": inner}, inner),
        tuples.map(lambda schema: {"type": "array", **schema}),
        some.map(lambda variants: {"anyOf": variants}),
        some.map(lambda variants: {"oneOf": variants}),
        some.map(lambda variants: {"allOf": variants}),
        some.map(lambda variants: {"type": ["string", "object", "null"], "anyOf": variants}),
        st.builds(lambda some: {"type": ["array", "null"], "items": some}, inner),
        st.sampled_from(["r", "s"]).map(lambda name: {"$ref": f"#/$defs/{name}", "description": "See."}),
    )


typed = st.recursive(
    st.one_of(
        st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda name: {"type": name}),
        instances.map(lambda value: {"const": value}),
        st.lists(instances, min_size=1, max_size=3).map(lambda values: {"enum": values}),
        st.just(True),
    ),
    typed_schemas,
    max_leaves=8,
)


@given(typed, typed, typed, instances)
def test_a_type_admits_every_value_of_its_schema(root: Any, r: Any, s: Any, value: Any) -> None:
    """What jsonschema finds valid, the TypeScript type takes; it never misleads the model."""
    schema = {"type": "object", "properties": {"x": root}, "required": ["x"], "$defs": {"r": r, "s": s}}
    type_, declared = arguments(faithful_signature("f", schema))
    try:
        is_valid = Draft202012Validator(schema).is_valid({"x": value})
    except RecursionError:
        return
    if is_valid:
        assert admits(type_, {"x": value}, declared)


hostile = st.sampled_from(
    ["a\nb", "\r", "\u2028}", "*/", '"', "\\", "//", "; type g = any;", "`${x}`", "$", "a-b", "", "null"]
)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | hostile
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=5,
)


def wild_schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every keyword, also in shapes that make no sense."""
    several, fields = st.lists(inner, max_size=3), st.dictionaries(hostile, inner, max_size=3)
    types = st.sampled_from(["object", "array", "string", "integer", "null", "odd"])
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, max_size=3) | junk,
            "properties": fields | junk,
            "required": st.lists(hostile, max_size=2) | junk,
            "additionalProperties": inner | junk,
            "patternProperties": fields | junk,
            "propertyNames": inner | junk,
            "items": inner | several | junk,
            "additionalItems": inner,
            "prefixItems": several | junk,
            "minItems": st.integers(0, 3) | junk,
            "anyOf": several | junk,
            "oneOf": several | junk,
            "allOf": several | junk,
            "not": inner,
            "enum": st.lists(junk, max_size=3) | junk,
            "const": junk,
            "default": junk,
            "examples": junk,
            "nullable": st.booleans() | junk,
            "title": hostile | junk,
            "description": hostile | junk,
            "pattern": hostile | junk,
            "minimum": junk,
            "$ref": st.sampled_from(["#", "#/$defs/r", "#/properties", "#/anyOf/0", "#r", "odd"])
            | hostile
            | junk,
            "$defs": st.fixed_dictionaries({"r": inner}) | junk,
        },
    )


@given(st.recursive(junk, wild_schemas, max_leaves=10).filter(lambda schema: isinstance(schema, dict)))
def test_whatever_the_schema_the_signature_is_typescript(schema: Schema) -> None:
    """One type and its helpers, nothing left of comments or quotes, whatever is in the schema."""
    declared = parse(faithful_signature("f", schema))
    assert next(iter(declared)) == "f"
    assert all(name == "f" or name.startswith("f_") for name in declared)


def nested(depth: int) -> Schema:
    """Arrays of arrays, `depth` deep."""
    schema: Schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_schemas_may_nest_deeply() -> None:
    """A hundred levels are fine."""
    assert faithful_signature("f", nested(100)) == f"type f = (_: string{'[]' * 100}) => any;"


@pytest.mark.parametrize(
    "parameters",
    [{"default": math.nan}, {"default": object()}, nested(100_000)],
    ids=["nan", "object", "too deep"],
)
def test_what_is_not_json_is_refused(parameters: Schema) -> None:
    """Values without JSON, and nesting without end, raise RenderError and name the tool."""
    with pytest.raises(harmony.RenderError, match="'f'"):
        faithful_signature("f", parameters)


CONVERSATION = Conversation(
    messages=[
        Message.from_role_and_content(
            Role.DEVELOPER,
            DeveloperContent.new().with_function_tools(
                [
                    ToolDescription.new(
                        "f", "Does it.", properties(x={"anyOf": [{"type": "string"}, {"type": "null"}]})
                    )
                ]
            ),
        )
    ]
)


@pytest.mark.parametrize(
    "render",
    [
        lambda encoding, config: encoding.render_conversation(CONVERSATION, config),
        lambda encoding, config: encoding.render_conversation_for_training(CONVERSATION, config),
        lambda encoding, config: encoding.render_conversation_for_completion(
            CONVERSATION, Role.ASSISTANT, config
        ),
        lambda encoding, config: encoding.render(
            CONVERSATION.messages[0], RenderOptions(schema_profile=config.schema_profile)
        ),
        lambda encoding, config: (
            encoding.render_training_example(
                CONVERSATION, TrainingConfig(schema_profile=config.schema_profile)
            ).tokens
        ),
        lambda encoding, config: _transcript(encoding, config.schema_profile).tokens,
    ],
)
def test_the_profile_is_chosen_where_a_conversation_is_rendered(
    encoding: harmony.HarmonyEncoding,
    render: Callable[[harmony.HarmonyEncoding, RenderConversationConfig], list[int]],
) -> None:
    """All ways of rendering take it; the exact profile is the default."""
    exact, faithful = RenderConversationConfig(), RenderConversationConfig(schema_profile="faithful")
    assert "x: any," in encoding.decode(render(encoding, exact))
    assert "x: string | null," in encoding.decode(render(encoding, faithful))


def _transcript(encoding: harmony.HarmonyEncoding, profile: SchemaProfile) -> Transcript:
    transcript = Transcript(encoding, schema_profile=profile)
    saved = Transcript.from_json(encoding, transcript.to_json()).copy()
    saved.append(*CONVERSATION.messages)
    return saved
