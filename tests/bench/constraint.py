"""What enforcing a turn costs: compiling, starting, masks, decoding; xgrammar beside it where it is there.

    python tests/bench/constraint.py            # all of it, some minutes
    python tests/bench/constraint.py --quick    # each figure once, to see that it runs

Compiling, in CPU time of all threads, is that of a turn whose schemas were never seen: they are made
enforceable, and the grammar compiled: as far as its first mask needs it; as far as the engine needs it, which
looks for the shortest end before it begins; as far as one call needs it, to its end; all of it; or in one
piece; with one of the tools required or named, too. Masks, in one thread, are those before each token of two
turns, with reasoning, a call and an answer by a schema: the least of several passes at each place, with what
tells whether the token is forced. Decoding is timed in CPU time of all threads, in pairs of turns of the same
tokens, under a grammar that was used before. xgrammar compiles the grammar of the same turn through its own
Lark dialect.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from typing import Any

from harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    JsonSchema,
    Message,
    Role,
    SystemContent,
    ToolDescription,
    TurnGrammar,
    load_encoding,
)
from harmony.agent.grammars import harmony_grammars, turn_constraint
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.engine import Engine
from harmony.runtime.generation import SamplingParams
from harmony.runtime.grammars import Grammars
from harmony.runtime.models import TINY
from harmony.vocabulary import END, SPECIAL_TOKENS, STOP_TOKENS, token_bytes

GPT_OSS = 201_088
_NUMBERS = count()

CALL_TURN = (
    "<|channel|>analysis<|message|>The user asks for the weather in Paris over the next days, in Celsius. "
    "I should call the tool with the city, the unit and three days; then I can summarise what it says.<|end|>"
    "<|start|>assistant<|channel|>commentary<|message|>Let me look that up for you.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.tool_3 <|constrain|>json<|message|>"
    '{"city": "Paris, France", "unit": "c", "days": 3, "tags": ["rain", "wind"],\n "where": {"lat": 48.85, '
    '"lon": 2.35}}<|call|>'
)
ANSWER_TURN = (
    "<|channel|>analysis<|message|>The tool says 21 degrees and some rain on Tuesday.<|end|>"
    "<|start|>assistant<|channel|>final <|constrain|>json<|message|>"
    '{"summary": "Mild, with a shower on Tuesday – take an umbrella.", "days": [{"day": "Mon", "high": 21.5, '
    '"sky": "sunny"}, {"day": "Tue", "high": 18, "sky": "rain"}], "sure": true}<|return|>'
)
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "days": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "day": {"enum": ["Mon", "Tue", "Wed"]},
                    "high": {"type": "number"},
                    "sky": {"type": "string", "maxLength": 20},
                },
                "required": ["day", "high", "sky"],
                "additionalProperties": False,
            },
        },
        "sure": {"type": "boolean"},
    },
    "required": ["summary", "days", "sure"],
    "additionalProperties": False,
}


def _required(name: str, **properties: dict[str, object]) -> ToolDescription:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return ToolDescription.new(name, "", parameters)


WEATHER = _required("get_weather", location={"type": "string"}, format={"enum": ["celsius", "fahrenheit"]})
FLIGHT = _required(
    "search_flights",
    departure_airport={"enum": ["CDG", "JFK", "NRT"]},
    arrival_airport={"enum": ["CDG", "JFK", "NRT"]},
    number_of_passengers={"type": "integer", "minimum": 1, "maximum": 9},
    cabin_class={"enum": ["economy", "business", "first"]},
    include_return_flight={"type": "boolean"},
)


def tool(number: int, mark: str = "") -> ToolDescription:
    """A tool with five parameters, of a schema that no other has, and a name if the mark is new."""
    where = {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}}
    properties = {
        "city": {"type": "string", "description": "The city and state"},
        "unit": {"enum": ["c", "f"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14 + next(_NUMBERS)},
        "tags": {"type": "array", "items": {"type": "string"}},
        "where": where | {"required": ["lat", "lon"], "additionalProperties": False},
    }
    parameters = {
        "type": "object",
        "properties": properties,
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    return ToolDescription.new(f"tool_{number}{mark}", "The weather in a city.", parameters)


def grammar(tools: int, tool_choice: str = "auto") -> TurnGrammar:
    """The grammar of a turn with so many tools and the answer; new at each call."""
    return TurnGrammar.of(
        [tool(n) for n in range(tools)], tool_choice=tool_choice, response=JsonSchema(ANSWER)
    )


def milliseconds(work: Callable[[], object]) -> float:
    """The CPU time that a piece of work takes, in all threads."""
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / 1e6


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Bench:
    """Each method measures one thing and tells it in rows: what, figure, goal."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.encoding: HarmonyEncoding = load_encoding()
        self.grammars: Grammars = harmony_grammars(GPT_OSS)
        self._compile_time(1, self._compile_parts)  # loads the compiler
        gc.freeze()

    def compiling(self) -> Iterator[tuple[str, str, str]]:
        for tools in (1, 10, 32, 128):
            for what, work in (
                ("to its first mask", lambda turn: turn_constraint(turn, GPT_OSS).mask()),
                ("to its first token", self._guide),
                ("and a call, to its end", self._call),
                ("all of it", self._compile_parts),
                ("in one piece", lambda turn: self.grammars.compiled(turn.text).result()),
            ):
                times = [self._compile_time(tools, work) for _ in range(self.repeats)]
                goal = "≤ 8 ms" if tools == 32 and what == "to its first token" else ""
                yield f"compile a turn, {tools} tools, {what}", f"{statistics.median(times):.1f} ms", goal
        for choice, what in (("required", "one is required"), ("tool_0", "one is named")):
            times = [self._compile_time(32, self._guide, choice) for _ in range(self.repeats)]
            figure = f"{statistics.median(times):.1f} ms"
            yield f"compile a turn, 32 tools, {what}, to its first token", figure, ""

    def _compile_time(self, count: int, work: Callable[[TurnGrammar], object], choice: str = "auto") -> float:
        """Milliseconds of work on a turn with so many tools and an answer, none of which was seen before."""
        mark = f"_{next(_NUMBERS)}"
        tools = [tool(number, mark) for number in range(count)]
        members = {**ANSWER["properties"], f"sure{mark}": {"type": "boolean"}}
        answer: dict[str, object] = ANSWER | {"properties": members}
        turns: list[TurnGrammar] = []

        def made() -> None:
            chosen = choice if choice in ("auto", "required") else f"{choice}{mark}"
            turns.append(TurnGrammar.of(tools, tool_choice=chosen, response=JsonSchema(answer)))
            work(turns[0])

        gc.collect()  # what came before is not to be collected in it
        spent = milliseconds(made)
        self._compile_parts(turns[0])  # what the background still compiles is not to disturb the next
        return spent

    def _guide(self, turn: TurnGrammar) -> None:
        Guide(turn_constraint(turn, GPT_OSS), 1000).mask()

    def _call(self, turn: TurnGrammar) -> None:
        """What a turn needs that calls its first tool, from where on the shortest end is the call's."""
        constraint = turn_constraint(turn, GPT_OSS)
        Guide(constraint, 1000)
        name = turn.text.partition("functions.")[2].partition('"')[0]
        header = f"<|channel|>commentary to=functions.{name}<|message|>"
        constraint.accept(*self.encoding.encode(header, allowed_special="all"))
        constraint.mask()
        Guide(constraint, 1000)

    def _compile_parts(self, turn: TurnGrammar) -> None:
        turn_constraint(turn, GPT_OSS).ready()
        for body in turn.parts.bodies.values() if turn.parts else ():
            if body.grammar is not None:
                self.grammars.compiled(body.grammar).result()

    def starting(self) -> Iterator[tuple[str, str, str]]:
        turn = grammar(32)
        turn_constraint(turn, GPT_OSS).mask()
        times = [
            milliseconds(lambda: turn_constraint(turn, GPT_OSS).mask()) for _ in range(20 * self.repeats)
        ]
        yield "next request, 32 tools, to its first mask", f"{statistics.median(times):.3f} ms", "≤ 0.2 ms"

    def masks(self) -> Iterator[tuple[str, str, str]]:
        least: list[float] = []
        for turn in (CALL_TURN, ANSWER_TURN):
            made, tokens = grammar(21), self.encoding.encode(turn, allowed_special="all")
            passes = [self._mask_times(made, tokens) for _ in range(self.repeats)]
            least += [min(times) for times in zip(*passes, strict=True)]
        for name, share, goal in (("p50", 0.5, "≤ 3 µs"), ("p99", 0.99, "≤ 100 µs"), ("max", 1.0, "")):
            yield f"mask, {name} of {len(least)}", f"{percentile(least, share):.1f} µs", goal

    def _mask_times(self, turn: TurnGrammar, tokens: list[int]) -> list[float]:
        constraint = turn_constraint(turn, GPT_OSS)
        times = []
        for token in tokens:
            before = time.perf_counter_ns()
            constraint.mask()
            times.append((time.perf_counter_ns() - before) / 1e3)
            constraint.accept(token)
        return times

    def decoding(self) -> Iterator[tuple[str, str, str]]:
        """The tiny model's greedy turns: each free and enforced, in turn the one or the other first."""
        engine = Engine.load(TINY, device="cpu")
        turn = TurnGrammar.of([tool(0)])
        for kind, name in ((Constraint, ""), (Unforced, ", every token sampled")):
            ratios = []
            for number in range(2 + 4 * self.repeats):
                prompt = self._prompt(f"What is the meaning of the number {number % self.repeats + 1}?")
                kept = [None, kind(self.grammars, turn.text, parts=turn.parts)]
                order = kept if number % 2 else kept[::-1]
                times = {constraint: self._turn_time(engine, prompt, constraint) for constraint in order}
                (free, sampled), (enforced, tokens) = (times[constraint] for constraint in kept)
                if tokens == sampled and number > 1:
                    ratios.append(enforced / free - 1)
            low, middle, high = (percentile(ratios, share) for share in (0.25, 0.5, 0.75))
            spread = f"{middle:+.1%} (half of {len(ratios)} pairs: {low:+.1%} to {high:+.1%})"
            yield f"decode of tiny, slower by{name}", spread, "≤ 3 %"
        asyncio.run(engine.aclose())

    def _turn_time(
        self, engine: Engine, prompt: list[int], constraint: Constraint | None
    ) -> tuple[float, list[int]]:
        """The CPU time from the first token to the last, and the tokens."""

        async def generate() -> tuple[float, list[int]]:
            tokens: list[int] = []
            sampling = SamplingParams(temperature=0, max_tokens=300)
            start = 0.0
            async for token in engine.generate(
                prompt, sampling, stop=STOP_TOKENS - {END}, constraint=constraint
            ):
                start = start or time.process_time()
                tokens.append(token.token)
            return time.process_time() - start, tokens

        if constraint is not None:
            constraint.automaton()
        return asyncio.run(generate())

    def forced(self) -> Iterator[tuple[str, str, str]]:
        """Named calls: which of their tokens leave the model no choice."""
        calls = (
            (WEATHER, '{"location":"Paris","format":"celsius"}'),
            (
                FLIGHT,
                '{"departure_airport":"CDG","arrival_airport":"JFK","number_of_passengers":2,'
                '"cabin_class":"economy","include_return_flight":true}',
            ),
        )
        for called, arguments in calls:
            grammar = TurnGrammar.of(
                [called], tool_choice=called.name, channels=("commentary",), preambles=False
            )
            header = f"<|channel|>commentary to=functions.{called.name} <|constrain|>json<|message|>"
            forced, all_ = self._forced_tokens(grammar, f"{header}{arguments}<|call|>")
            share = f"{forced / all_:.0%} of {all_}"
            yield f"forced tokens of a named call, {called.name}", share, "≥ 50 %"

    def _forced_tokens(self, grammar: TurnGrammar, turn: str) -> tuple[int, int]:
        constraint, forced = turn_constraint(grammar, GPT_OSS), 0
        while turn:
            given = constraint.forced()
            tokens = given or self.encoding.encode(turn, allowed_special="all")[:1]
            written = self.encoding.decode(tokens)
            assert turn.startswith(written), (turn, written)
            constraint.accept(*tokens)
            forced += len(given)
            turn = turn[len(written) :]
        return forced, len(constraint.tokens)

    def _prompt(self, question: str, *tools: ToolDescription) -> list[int]:
        messages = [Message.from_role_and_content(Role.SYSTEM, SystemContent.new())]
        if tools:
            developer = DeveloperContent.new().with_function_tools(tools)
            messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
        messages.append(Message.from_role_and_content(Role.USER, question))
        return self.encoding.render_conversation_for_completion(
            Conversation.from_messages(messages), Role.ASSISTANT
        )

    def xgrammar(self) -> Iterator[tuple[str, str, str]]:
        """The same turn: its Lark dialect, special tokens with a byte that no text has."""
        import xgrammar

        vocabulary = [
            text if token < len(token_bytes()) - len(SPECIAL_TOKENS) else b"\xff" + text
            for token, text in enumerate(token_bytes()[:GPT_OSS])
        ]
        info = xgrammar.TokenizerInfo(vocabulary, vocab_size=GPT_OSS, stop_token_ids=[199_999])
        compile_times, least = [], []
        for _ in range(max(1, self.repeats // 7)):
            compiler = xgrammar.GrammarCompiler(info, max_threads=1)
            text = _in_xgrammars_lark(grammar(21).text)
            before = time.process_time_ns()
            compiled = compiler.compile_lark(text)
            compile_times.append((time.process_time_ns() - before) / 1e6)
        for turn in (CALL_TURN, ANSWER_TURN):
            tokens = self.encoding.encode(turn, allowed_special="all")
            passes = []
            for _ in range(self.repeats):
                matcher = xgrammar.GrammarMatcher(compiled)
                row = xgrammar.allocate_token_bitmask(1, GPT_OSS)
                times = []
                for token in tokens:
                    before = time.perf_counter_ns()
                    matcher.fill_next_token_bitmask(row)
                    times.append((time.perf_counter_ns() - before) / 1e3)
                    if not matcher.accept_token(token):
                        break
                passes.append(times)
            least += [min(times) for times in zip(*passes, strict=True)]
        ours = [self._compile_time(21, self._compile_parts) for _ in range(self.repeats)]
        yield "compile a turn, 21 tools, all of it", f"{statistics.median(ours):.1f} ms", ""
        yield "xgrammar: compile it", f"{statistics.median(compile_times):,.0f} ms", ""
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            yield f"xgrammar: mask, {name} of {len(least)}", f"{percentile(least, share):.1f} µs", ""


class Unforced(Constraint):
    """A constraint that leaves every token to the model."""

    def forced(self) -> list[int]:
        return []


def _in_xgrammars_lark(text: str) -> str:
    """Our grammar in xgrammar's dialect: special tokens by their ids, flags behind an expression."""
    text = re.sub(r"<\|\w+\|>", lambda found: f"<[{SPECIAL_TOKENS[found[0]]}]>", text)
    text = text.replace("%llguidance {}\n", "").replace("/(?s:.*)/", "/.*/s")
    return re.sub(r', "?x-guidance"?.*?\}(?=\}$)', "", text, flags=re.M)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="each figure once, to see that it runs")
    bench = Bench(1 if parser.parse_args().quick else 15)
    parts = [bench.compiling, bench.starting, bench.masks, bench.decoding, bench.forced]
    if find_spec("xgrammar") is not None:
        parts.append(bench.xgrammar)
    print("| | | goal |\n| :--- | ---: | ---: |")
    for part in parts:
        for what, figure, goal in part():
            print(f"| {what} | {figure} | {goal} |", flush=True)
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("llguidance", "torch", "xgrammar")
        if find_spec(name)
    ]
    print(f"\nPython {platform.python_version()}, {', '.join(versions)}, {platform.machine()}, one thread.")


if __name__ == "__main__":
    main()
