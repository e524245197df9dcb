"""Structured Outputs by real clients, from models that would not keep to them by themselves."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pytest
from masked import Masked
from openai import OpenAI
from pydantic import BaseModel
from scripted import Scripted
from served import Calculator, served

from harmony.runtime.engine import Engine
from harmony.runtime.models import TINY

CHAT = "<|channel|>final<|message|>I would rather chat, {"
ORDER: Any = [{"role": "user", "content": "I ordered 12 apples for 3.5."}]
LISTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 8},
        "kinds": {"type": "array", "items": {"enum": ["noun", "verb"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["word", "kinds"],
    "additionalProperties": False,
}
REMOTE = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}


class Order(BaseModel):
    item: str
    quantity: int
    unit: Literal["kg", "lb"] | None


def tool(name: str = "look_up", **changes: Any) -> Any:
    return {"type": "function", "name": name, "parameters": LISTED, "strict": True, **changes}


def chat_tool(name: str = "look_up", **changes: Any) -> Any:
    stated = tool(name, **changes)
    return {"type": stated.pop("type"), "function": stated}


@pytest.fixture(scope="module")
def tiny() -> Iterator[OpenAI]:
    """The bundled model, which closes the client's connection with its engine."""
    with (
        served(Engine.load(TINY, device="cpu")) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@contextmanager
def client(engine: Scripted, **options: Any) -> Iterator[OpenAI]:
    with (
        served(engine, **options) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai_client,
    ):
        yield openai_client


@pytest.mark.parametrize("seed", range(3))
def test_parse_gives_the_type_at_any_temperature(tiny: OpenAI, seed: int) -> None:
    """By both APIs, from the bundled model at temperature 2."""
    response = tiny.responses.parse(
        model="tiny",
        input=ORDER,
        text_format=Order,
        temperature=2,
        max_output_tokens=150,
        extra_body={"seed": seed},
    )
    assert isinstance(response.output_parsed, Order)
    chat = tiny.chat.completions.create(
        model="tiny",
        messages=ORDER,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "order", "schema": Order.model_json_schema()},
        },
        temperature=2,
        seed=seed,
        max_completion_tokens=150,
    )
    assert Order.model_validate_json(chat.choices[0].message.content or "")


def test_a_streamed_type(tiny: OpenAI) -> None:
    """The helper for streams parses what the deltas make up."""
    with tiny.responses.stream(
        model="tiny",
        input=ORDER,
        text_format=Order,
        temperature=2,
        max_output_tokens=150,
        extra_body={"seed": 0},
    ) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Order)


def test_chat_parse() -> None:
    """A model that chats writes the type all the same, and nothing before it."""
    with client(Masked(CHAT)) as c:
        chat = c.chat.completions.parse(
            model="scripted", messages=ORDER, response_format=Order, tools=[chat_tool()]
        )
    assert isinstance(chat.choices[0].message.parsed, Order)
    assert chat.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("stated", "valid"),
    [
        ({"type": "json_schema", "name": "list", "schema": LISTED, "strict": True}, LISTED),
        ({"type": "json_schema", "name": "list", "schema": LISTED, "strict": False}, LISTED),
        ({"type": "json_schema", "name": "number", "schema": {"type": "integer"}}, {"type": "integer"}),
        ({"type": "json_schema", "name": "remote", "schema": REMOTE}, {}),
        ({"type": "json_object"}, {"type": "object"}),
    ],
)
def test_formats_are_enforced(stated: Any, valid: dict[str, Any]) -> None:
    """Strict or not; a schema that cannot be is any JSON where it is not strict."""
    details = {key: value for key, value in stated.items() if key != "type"}
    chat_format: Any = {"type": stated["type"]} | ({"json_schema": details} if details else {})
    with client(Masked(CHAT, CHAT)) as c:
        response = c.responses.create(model="scripted", input="Hi", text={"format": stated})
        chat = c.chat.completions.create(model="scripted", messages=ORDER, response_format=chat_format)
    for text in (response.output_text, chat.choices[0].message.content or ""):
        jsonschema.validate(json.loads(text), valid)
    assert response.status == "completed"


@pytest.mark.parametrize("choice", ["required", "named", "allowed"])
def test_a_call_that_is_demanded_is_made(choice: str) -> None:
    """By both APIs, with arguments that its schema accepts; the other function is never called."""
    allowed = {"mode": "required", "tools": [{"type": "function", "name": "look_up"}]}
    of_responses: Any = {
        "required": "required",
        "named": {"type": "function", "name": "look_up"},
        "allowed": {"type": "allowed_tools", **allowed},
    }
    of_chat: Any = {
        "required": "required",
        "named": {"type": "function", "function": {"name": "look_up"}},
        "allowed": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "look_up"}}],
            },
        },
    }
    others = [] if choice == "required" else [tool("other", parameters=None)]
    chat_others = [] if choice == "required" else [chat_tool("other", parameters=None)]
    with client(Masked(CHAT, CHAT)) as c:
        response = c.responses.create(
            model="scripted", input="Hi", tools=[*others, tool()], tool_choice=of_responses[choice]
        )
        chat = c.chat.completions.create(
            model="scripted",
            messages=ORDER,
            tools=[*chat_others, chat_tool()],
            tool_choice=of_chat[choice],
            parallel_tool_calls=True,
        )
    call: Any = response.output[-1]
    (chat_call,) = (each.to_dict()["function"] for each in chat.choices[0].message.tool_calls or ())
    for name, arguments in ((call.name, call.arguments), (chat_call["name"], chat_call["arguments"])):
        assert name == "look_up"
        jsonschema.validate(json.loads(arguments), LISTED)
    assert chat.choices[0].finish_reason == "tool_calls"


def test_no_call_is_made_with_none() -> None:
    """Not even by a model that wants to."""
    wants = "<|channel|>commentary to=functions.look_up <|constrain|>json<|message|>{}<|call|>"
    with client(Masked(wants)) as c:
        response = c.responses.create(
            model="scripted", input="Hi", tools=[tool()], tool_choice="none", max_output_tokens=60
        )
    assert "function_call" not in [item.type for item in response.output]


def test_a_built_in_tool_can_be_demanded_once() -> None:
    """The first turn calls it; then the model is free to answer, by the schema."""
    final = "<|channel|>final<|message|>7"
    with client(Masked(CHAT, final), tools=[Calculator()]) as c:
        response = c.responses.create(
            model="scripted",
            input="Hi",
            tool_choice={"type": "code_interpreter"},
            text={"format": {"type": "json_schema", "name": "n", "schema": {"const": 7}, "strict": True}},
        )
    kinds = [item.type for item in response.output if item.type != "reasoning"]
    assert kinds == ["code_interpreter_call", "message"]
    assert response.output_text == "7"


def test_a_limit_ends_incomplete_and_whole() -> None:
    """The JSON is brought to its end, and the status says what ended it."""
    with client(Masked(CHAT, CHAT, CHAT)) as c:
        strict: Any = {"type": "json_schema", "name": "text", "schema": {"type": "string"}, "strict": True}
        response = c.responses.create(
            model="scripted", input="Hi", text={"format": strict}, max_output_tokens=8
        )
        chat = c.chat.completions.create(
            model="scripted",
            messages=ORDER,
            tools=[chat_tool(parameters=LISTED | {"required": []})],
            tool_choice="required",
            max_completion_tokens=12,
        )
    assert response.incomplete_details is not None
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert isinstance(json.loads(response.output_text), str)
    (call,) = (each.to_dict()["function"] for each in chat.choices[0].message.tool_calls or ())
    assert (chat.choices[0].finish_reason, json.loads(call["arguments"])) == ("length", {})


REFUSED_BODIES: list[tuple[dict[str, Any], str]] = [
    (
        {"text": {"format": {"type": "json_schema", "name": "l", "schema": LISTED, "strict": True}}},
        "text.format.schema",
    ),
    ({"tools": [tool()]}, "tools[0].parameters"),
    ({"tools": [tool(strict=False)], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool(strict=False)], "tool_choice": {"type": "function", "name": "look_up"}}, "tool_choice"),
]


@pytest.mark.parametrize(("change", "param"), REFUSED_BODIES)
def test_a_promise_that_an_engine_cannot_keep_is_refused(change: dict[str, Any], param: str) -> None:
    """By name, before anything is sampled; what promises nothing is answered."""
    engine = Scripted("<|channel|>final<|message|>Hello.<|return|>")
    with client(engine) as c:
        with pytest.raises(openai.BadRequestError, match="keeps to no grammar") as raised:
            c.responses.create(model="scripted", input="Hi", **change)
        assert (raised.value.code, raised.value.param) == ("unsupported_value", param)
        assert not engine.prompts
        lenient: Any = {"type": "json_schema", "name": "list", "schema": LISTED}
        answer = c.responses.create(
            model="scripted", input="Hi", tools=[tool(strict=False)], text={"format": lenient}
        )
    assert answer.output_text == "Hello."


NO_SCHEMA = {"type": "objekt"}


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tool_choice": {"type": "function", "name": "x"}, "tools": [tool()]}, "tool_choice", "functions.x"),
        ({"tool_choice": {"type": "mcp"}, "tools": [tool()]}, "tool_choice", "must be auto"),
        ({"tool_choice": "sometimes", "tools": [tool()]}, "tool_choice", "must be auto"),
        ({"tools": [tool(parameters=REMOTE)]}, "tools[0].parameters", r"#/properties/a/\$ref leads to"),
        ({"tools": [tool(parameters=NO_SCHEMA, strict=False)]}, "tools[0].parameters", "Invalid schema for"),
        (
            {"text": {"format": {"type": "json_schema", "name": "r", "schema": REMOTE, "strict": True}}},
            "text.format.schema",
            "Invalid schema for response_format 'r'",
        ),
    ],
)
def test_what_cannot_be_asked_for(change: dict[str, Any], param: str, says: str) -> None:
    """The error names the field, and for a schema the place and keyword in it."""
    with client(Masked()) as c, pytest.raises(openai.BadRequestError, match=says) as raised:
        c.responses.create(model="scripted", input="Hi", **change)
    assert raised.value.param == param
    assert raised.value.code == (
        "invalid_function_parameters"
        if "parameters" in param
        else "invalid_json_schema"
        if "text" in param
        else None
    )


def test_a_schema_that_is_not_strict_leaves_the_others_enforced() -> None:
    """One function's schema cannot be; the other's is, and so is the turn."""
    with client(Masked(CHAT)) as c:
        response = c.responses.create(
            model="scripted",
            input="Hi",
            tools=[tool("odd", parameters=REMOTE, strict=False), tool()],
            tool_choice={"type": "function", "name": "look_up"},
        )
    call: Any = response.output[-1]
    jsonschema.validate(json.loads(call.arguments), LISTED)


def test_every_turn_is_constrained() -> None:
    """Where nothing is asked for too, the turn keeps to the format; many requests at once do."""
    engine = Masked(*["no header at all"] * 6)

    async def ask(url: str) -> list[int]:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as c:
            body = {"model": "scripted", "input": "Hi", "max_output_tokens": 40}
            answers = await asyncio.gather(*(c.post("/v1/responses", json=body) for _ in range(6)))
            return [answer.status_code for answer in answers]

    with served(engine) as url:
        assert asyncio.run(ask(url)) == [200] * 6
    assert engine.constrained == [True] * 6
