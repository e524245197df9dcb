"""Answers of a type: told to the model, kept to while the bundled model samples, read, and checked."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, Field
from scripted import Scripted
from typing_extensions import TypedDict

from harmony import Choices, JsonSchema, Lark, Regex, Role, load_encoding
from harmony.agent import Agent, Limits, Notice, ToolCalled
from harmony.errors import GrammarError, HarmonyError, OutputError
from harmony.runtime.engine import Engine
from harmony.runtime.generation import SamplingParams
from harmony.runtime.models import TINY
from harmony.tools.functions import function

PROMPT = "I ordered 12 apples for 3.5."


class Order(BaseModel):
    item: str
    quantity: int = Field(ge=1, le=999)


@dataclass
class Line:
    item: str
    quantity: int
    note: str | None = None


class Entry(TypedDict):
    item: str
    tags: list[str]


class Unit(Enum):
    KILO = "kg"
    POUND = "lb"


class Tree(BaseModel):
    name: str
    below: "list[Tree]" = Field(max_length=2)


SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "price": {"type": "number", "exclusiveMinimum": 0}},
    "required": ["item", "price"],
    "additionalProperties": False,
}


@function
def lookup(word: Annotated[str, Field(max_length=12)]) -> str:
    """What a word means."""
    return f"{word} is a word"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine.load(TINY, device="cpu")
    yield engine
    asyncio.run(engine.aclose())


def agent(engine: Engine, **options: Any) -> Agent:
    sampling = options.pop("sampling", SamplingParams(temperature=2, seed=11))
    return Agent(engine, sampling=sampling, limits=Limits(turns=4, tokens=90, reasoning_tokens=20), **options)


@pytest.mark.parametrize("output_type", [Order, Line, Entry, Unit, Tree, int, list[bool]])
def test_the_output_is_of_the_type(engine: Engine, output_type: Any) -> None:
    """Models, dataclasses, TypedDicts, enums and plain types, from a model at temperature 2."""
    for seed in range(2):
        result = agent(engine, sampling=SamplingParams(temperature=2, seed=seed)).run_sync(
            PROMPT, output_type=output_type
        )
        value = result.output
        if output_type is Entry:
            assert isinstance(value, dict)
            assert value.keys() == {"item", "tags"}
        elif output_type == list[bool]:
            assert all(isinstance(item, bool) for item in value)
        else:
            assert isinstance(value, output_type)
        assert result.stop_reason == "answer" or result.closed


def test_a_plain_schema_gives_plain_values(engine: Engine) -> None:
    """A mapping is a JSON schema."""
    value = agent(engine).run_sync(PROMPT, output_type=SCHEMA).output
    assert isinstance(value, dict)
    assert list(value) == ["item", "price"]
    assert value["price"] > 0


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (Choices(("yes", "no")), ("yes", "no")),
        (Regex("[ab]{2}"), ("aa", "ab", "ba", "bb")),
        (Lark('start: "x" ("y" | "z")'), ("xy", "xz")),
    ],
)
def test_other_formats_give_text(engine: Engine, answer: Any, allowed: tuple[str, ...]) -> None:
    """Choices, regular expressions and grammars."""
    assert agent(engine).run_sync(PROMPT, output_type=answer).output in allowed


def test_the_model_is_told(engine: Engine) -> None:
    """The developer message ends in the schema; a transcript that goes on gets the next one too."""
    asker = agent(engine, instructions="Be brief.")
    first = asker.run_sync(PROMPT, output_type=JsonSchema(SCHEMA, "order"))
    told = f"# Response Formats\n\n## order\n\n{json.dumps(SCHEMA, separators=(',', ':'))}"
    text = load_encoding().decode(first.transcript.tokens)
    assert f"# Instructions\n\nBe brief.\n\n{told}<|end|>" in text
    second = asker.run_sync(PROMPT, output_type=Choices(("a", "b")), transcript=first.transcript)
    assert [m.author.role for m in second.messages].count(Role.DEVELOPER) == 2
    assert second.output in ("a", "b")


def test_every_budget_is_closed_or_cut(engine: Engine) -> None:
    """From the least budget on the output is whole; below it there is none, and the error says so."""
    whole = []
    for tokens in range(1, 48, 3):
        limits = Limits(tokens=tokens)
        result = Agent(engine, sampling=SamplingParams(temperature=2, seed=tokens), limits=limits).run_sync(
            PROMPT, output_type=Order
        )
        assert result.usage.completion_tokens <= tokens
        whole.append(result.stop_reason == "answer" or result.closed)
        if whole[-1]:
            assert isinstance(result.output, Order)
        else:
            with pytest.raises(OutputError, match="cut off"):
                _ = result.output
    assert whole[-1]
    assert whole == sorted(whole)


def test_a_check_beyond_the_schema_is_an_output_error(engine: Engine) -> None:
    """What the schema cannot say, the type does, with the place."""

    def refuse(value: str) -> str:
        raise ValueError("never good enough")

    class Strict(BaseModel):
        item: Annotated[str, AfterValidator(refuse)]

    result = agent(engine).run_sync(PROMPT, output_type=Strict)
    with pytest.raises(OutputError, match=r"item is not what was asked for: .*never good enough") as raised:
        _ = result.output
    assert raised.value.path == ("item",)


def test_a_tool_that_is_chosen_is_called_first(engine: Engine) -> None:
    """By its name, or any of them; afterwards the model is free to answer."""
    for choice in ("lookup", "required"):

        async def called(choice: str = choice) -> tuple[list[ToolCalled], str]:
            run = agent(engine, tools=[lookup]).stream("Hello", output_type=Unit, tool_choice=choice)
            events = [event async for event in run]
            return [e for e in events if isinstance(e, ToolCalled)], run.text

        calls, _ = asyncio.run(called())
        assert calls[0].tool == "functions.lookup"
        assert len(json.loads(calls[0].arguments)["word"]) <= 12


def test_no_tool_is_called_with_none(engine: Engine) -> None:
    """In no turn."""
    for seed in range(4):
        result = agent(engine, tools=[lookup], sampling=SamplingParams(temperature=2, seed=seed)).run_sync(
            "Hello", tool_choice="none", output_type=Unit
        )
        assert result.turns == 1


def test_reasoning_ends_within_its_limit(engine: Engine) -> None:
    """At temperature 2 thoughts do not end by themselves."""
    sampling = SamplingParams(temperature=2, seed=3)
    limits = Limits(reasoning_tokens=10, tokens=120)
    result = Agent(engine, sampling=sampling, limits=limits).run_sync(PROMPT, output_type=Unit)
    assert isinstance(result.output, Unit)
    assert result.usage.reasoning_tokens < 20


@pytest.mark.parametrize(
    "options",
    [{"output_type": Unit}, {"tool_choice": "none"}, {"output_type": SCHEMA}],
)
def test_an_engine_that_cannot_is_an_error(options: dict[str, Any]) -> None:
    """What was asked for is never just hoped for."""
    with pytest.raises(GrammarError, match="keeps to no grammar"):
        Agent(Scripted("<|channel|>final<|message|>kg<|return|>")).run_sync("?", **options)


@pytest.mark.parametrize(
    ("output_type", "error"),
    [
        (Scripted, "has no JSON schema"),
        ({"$ref": "https://example.com/a.json"}, "leads to"),
        (Lark('start: "a" <|end|>'), "outside of quotes"),
        (Choices(()), "at least one"),
    ],
)
def test_what_cannot_be_enforced_is_an_error(engine: Engine, output_type: Any, error: str) -> None:
    """Typed, before anything is sampled, on one line."""
    with pytest.raises(HarmonyError, match=error) as raised:
        agent(engine).run_sync("?", output_type=output_type)
    assert "\n" not in str(raised.value)


def test_tools_that_cannot_be_enforced_are_a_notice_or_an_error(engine: Engine) -> None:
    """Once a run, where nothing was promised; with `strict` an error."""
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}
    tool = type(lookup).from_schema("odd", "An odd tool.", schema, lambda **_: "done")

    async def events() -> list[Any]:
        return [event async for event in agent(engine, tools=[tool]).stream("Hello")]

    assert sum(isinstance(event, Notice) for event in asyncio.run(events())) == 1
    with pytest.raises(GrammarError, match="leads to"):
        agent(engine, tools=[tool], strict=True).run_sync("Hello")


@pytest.mark.parametrize("option", ["--schema", "--output-type"])
@pytest.mark.parametrize("tokens", [60, 30])
def test_the_command_prints_the_answer(option: str, tokens: int, tmp_path: Path) -> None:
    """The bundled model from the shell: JSON on standard output; status 1 where a limit ended it."""
    (tmp_path / "order.json").write_text(json.dumps(Order.model_json_schema()))
    (tmp_path / "shop.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Order:\n    item: str\n    quantity: int\n"
    )
    given = {"--schema": "order.json", "--output-type": "shop:Order"}[option]
    command = ["harmony.agent", option, given, "--tools", "none", "--max-tokens", str(tokens), PROMPT]
    if tokens == 30:
        command += ["--temperature", "2", "--seed", "4"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert {"item", "quantity"} <= json.loads(done.stdout).keys(), done.stderr
    assert done.returncode == (1 if tokens == 30 else 0)
    assert ("valid end" in done.stderr) == (tokens == 30)
