"""Runs of the bundled model at temperature 2: each turn well-formed, each call and answer of its schema.

    python tests/bench/temperature.py --runs 1000 --seed 0

Through the whole agent: a prompt, two functions, a random tool choice and output type, within a random
budget. Every turn is judged by the rules of the format, its JSON by jsonschema with format checks, and the
output is read as the type that was asked for. Exit status 0 if nothing is wrong with any of them.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from enum import Enum
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from pydantic import BaseModel, Field, TypeAdapter
from random_turns import Request, malformation, violation

from harmony import Choices, JsonSchema, load_encoding
from harmony.agent import Agent, Limits
from harmony.agent.output import output_of
from harmony.errors import OutputError
from harmony.runtime.constraint import Constraint
from harmony.runtime.engine import Engine
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.models import TINY
from harmony.runtime.remote import RemoteEngine
from harmony.tools.functions import function


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str = Field(max_length=20)
    color: Color
    price: float = Field(ge=0, le=1000)


class Order(BaseModel):
    items: list[Item] = Field(min_length=1, max_length=3)
    note: str | None
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}-[0-9]{3}$")]


@function
def lookup(word: str, language: Literal["en", "fr"], limit: Annotated[int, Field(ge=1, le=9)]) -> str:
    """What a word means."""
    return "a word"


@function
def lights(on: bool, rooms: list[Color]) -> str:
    """Switch lights."""
    return "done"


TYPES: tuple[Any, ...] = (Order, Item, Color, list[int], dict[str, bool], Choices(("yes", "no")), None)
CHOICES = ("auto", "none", "required", "lookup", "lights")
PROMPTS = ("Hello", "What is 12 + 30?", "I ordered 12 apples for 3.5.", "Turn on the lights in red rooms.")


class Recorder:
    """The engine, with the tokens of each turn that it generated."""

    def __init__(self, engine: Engine | RemoteEngine) -> None:
        self.name, self.vocab_size = engine.name, engine.vocab_size
        self.context_length, self.default_sampling = engine.context_length, engine.default_sampling
        self.turns: list[list[GeneratedToken]] = []
        self._engine = engine

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: Constraint | None = None,
    ) -> AsyncGenerator[GeneratedToken]:
        self.turns.append([])
        async for token in self._engine.generate(prompt, sampling, stop=stop, constraint=constraint):
            self.turns[-1].append(token)
            yield token

    async def aclose(self) -> None:
        pass


def run(engine: Engine | RemoteEngine, seed: int, counts: Counter[str]) -> list[str]:
    """One run; what is wrong with it."""
    random = Random(seed)
    kind, choice = random.choice(TYPES), random.choice(CHOICES)
    recorder = Recorder(engine)
    limits = Limits(turns=3, tokens=random.choice((70, 120)), reasoning_tokens=random.choice((0, 12)))
    sampling = SamplingParams(temperature=2, seed=seed)
    agent = Agent(recorder, tools=[lookup, lights], sampling=sampling, limits=limits)
    asked = {} if kind is None else {"output_type": kind}
    result = agent.run_sync(random.choice(PROMPTS), tool_choice=choice, **asked)
    counts["runs"] += 1
    counts[f"ended: {result.stop_reason}{', closed' if result.closed else ''}"] += 1
    wrong = []
    for number, turn in enumerate(recorder.turns):
        counts["turns"] += 1
        counts["tokens"] += len(turn)
        if turn[-1].finish_reason == "length" and not turn[-1].closed:
            counts["turns cut by a budget below the least"] += 1
            continue
        format = None if kind is None else output_of(kind).format
        request = Request(
            (lookup.description, lights.description),
            (),
            choice if number == 0 or choice == "none" else "auto",
            dict(format.schema) if isinstance(format, JsonSchema) else None,
        )
        tokens = [token.token for token in turn]
        if problem := malformation(request, tokens, load_encoding()) or violation(
            request, tokens, load_encoding()
        ):
            wrong.append(f"run {seed}, turn {number}: {problem}")
    if result.stop_reason == "answer" or (result.closed and result.text):
        counts["answers"] += 1
        try:
            if isinstance(kind, type):
                TypeAdapter(kind).validate_python(result.output)
        except OutputError as error:
            wrong.append(f"run {seed}: {error}")
    return wrong


def main() -> int:
    """Run them all; 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    engine = Engine.load(TINY, device="cpu")
    counts, problems, start = Counter[str](), 0, time.monotonic()
    for seed in range(options.seed, options.seed + options.runs):
        for problem in run(engine, seed, counts):
            problems += 1
            print(problem, flush=True)
    asyncio.run(engine.aclose())
    for name, count in (counts + Counter(problems=problems)).items():
        print(f"{name:<40} {count:>10,}")
    print(f"{problems} problems in {counts['runs']:,} runs, {time.monotonic() - start:.0f} s")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
