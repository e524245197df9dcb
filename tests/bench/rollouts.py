"""Turns sampled from random logits under their grammars, and what is wrong with them: nothing, it should be.

    python tests/bench/rollouts.py --turns 100000 --schemas sample.jsonl.gz --state rollouts.json

Each request has up to three functions, maybe the built-in tools, maybe a schema for the answer, and any of
the tool choices, and is answered by `--each` turns. A turn is sampled within a random budget, near whose end
the engine's closing leads it to its own.
What comes out is judged by openai-harmony's strict parser, by the rules of the format, and by jsonschema
with its format checks. A turn whose budget is below the shortest end that is known is counted and may be cut;
every other has to end. A grammar that is refused is counted and drawn again.

`--schemas` is a file of JSON lines, each with a `schema`, plain or gzipped, such as a sample of MaskBench
(https://github.com/guidance-ai/jsonschemabench); without it, schemas are random. `--state` keeps the counts,
and a run that finds it goes on from there. The same seed gives the same turns. Exit status 0 if nothing
is wrong with any turn.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from random_schemas import random_schema
from random_turns import Request, Sampler, malformation, random_request, rollout, violation

from harmony import load_encoding
from harmony.agent.grammars import harmony_grammars, turn_constraint
from harmony.errors import ConstraintError, GrammarError
from harmony.runtime.closing.guide import Guide
from harmony.vocabulary import ordinary_tokens, tiktoken_lines

GPT_OSS = 201_088
BUDGETS = (40, 100, 250, 600)
WRITTEN_EVERY = 200
WRONG = ("malformed", "violations", "errors", "not ended")


class Bench:
    """Samples turns and counts what became of them."""

    def __init__(self, schemas: list[dict[str, Any]], seed: int, each: int) -> None:
        import openai_harmony

        self._schemas = schemas
        self._seed = seed
        self._each = each
        self._asked: tuple[int, Request] | None = None
        self._encoding = load_encoding()
        self._grammars = harmony_grammars(GPT_OSS)
        self._sampler = Sampler(self._grammars, self._encoding)
        self._theirs = openai_harmony.load_harmony_encoding("HarmonyGptOss")
        self._assistant = openai_harmony.Role.ASSISTANT

    def turn(self, number: int) -> tuple[Counter[str], list[str]]:
        """Counts of one turn, and what is wrong with it."""
        random = Random(f"{self._seed} {number}")
        counts = Counter[str](turns=1)
        first = number % self._each == 0
        request = self._request(number // self._each, counts if first else Counter())
        counts[f"tool_choice {_kind(request.tool_choice)}"] += 1
        constraint = turn_constraint(request.grammar, GPT_OSS)
        budget = random.choice(BUDGETS)
        try:
            guide = Guide(constraint, budget)
            rollout(guide, self._sampler, random, random.choice((0.1, 0.3, 0.6)))
        except ConstraintError as error:
            return counts + Counter(errors=1), [f"turn {number}: {error}"]
        counts["tokens"] += len(constraint.tokens)
        if not constraint.ended and not guide.possible:
            return counts + Counter({"budget too small": 1}), []
        if not constraint.ended:
            return counts + Counter({"not ended": 1}), [f"turn {number} did not end"]
        counts["closed at the budget" if guide.closed else "ended by themselves"] += 1
        wrong = []
        if problem := malformation(request, constraint.tokens, self._encoding) or self._refusal(
            constraint.tokens
        ):
            counts["malformed"] += 1
            wrong.append(f"turn {number} is malformed: {problem}")
        elif problem := violation(request, constraint.tokens, self._encoding):
            counts["violations"] += 1
            wrong.append(f"turn {number} violates its schema: {problem}")
        else:
            counts["JSON bodies"] += _has_json(request, self._encoding.decode(constraint.tokens))
        return counts, [line[:1000] for line in wrong]

    def _request(self, number: int, counts: Counter[str]) -> Request:
        """A request whose grammar is not refused."""
        if self._asked is None or self._asked[0] != number:
            self._asked = (number, self._drawn(Random(f"{self._seed} request {number}"), counts))
        return self._asked[1]

    def _drawn(self, random: Random, counts: Counter[str]) -> Request:
        while True:
            request = random_request(random, self._schema if self._schemas else random_schema)
            try:
                turn_constraint(request.grammar, GPT_OSS).ready()
                counts["requests"] += 1
                return request
            except GrammarError:
                counts["refused grammars"] += 1

    def _schema(self, random: Random) -> dict[str, Any]:
        return random.choice(self._schemas)

    def _refusal(self, tokens: list[int]) -> str | None:
        """What openai-harmony's parser says against the turn."""
        try:
            self._theirs.parse_messages_from_completion_tokens(tokens, self._assistant, strict=True)
        except Exception as error:
            return f"openai-harmony: {error}"
        return None


def _kind(tool_choice: str) -> str:
    return tool_choice if tool_choice in ("auto", "none", "required") else "NAME"


def _has_json(request: Request, turn: str) -> bool:
    return request.schema is not None if turn.endswith("<|return|>") else "to=python" not in turn


def read_schemas(path: Path) -> list[dict[str, Any]]:
    """The schemas of a file of JSON lines."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [schema for line in lines if isinstance(schema := json.loads(line)["schema"], dict)]


def main() -> int:
    """Run the turns that are left; 0 if nothing is wrong with any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--each", type=int, default=8, help="turns for each request (8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schemas", type=Path, metavar="FILE")
    parser.add_argument("--state", type=Path, metavar="FILE")
    options = parser.parse_args()
    counts, wrong = Counter[str](), list[str]()
    if options.state and options.state.exists():
        state = json.loads(options.state.read_text("utf-8"))
        counts, wrong = Counter(state["counts"]), state["wrong"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "o200k_base.tiktoken").write_bytes(tiktoken_lines(ordinary_tokens()))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        bench = Bench(read_schemas(options.schemas) if options.schemas else [], options.seed, options.each)
    start = time.monotonic()
    while counts["turns"] < options.turns:
        more, problems = bench.turn(counts["turns"])
        counts += more
        wrong += problems
        for problem in problems:
            print(problem, flush=True)
        if options.state and (counts["turns"] % WRITTEN_EVERY == 0 or counts["turns"] == options.turns):
            options.state.write_text(json.dumps({"counts": counts, "wrong": wrong}), "utf-8")
    zero = dict.fromkeys(WRONG, 0)
    for name, count in (zero | counts).items():
        print(f"{name:<24} {count:>12,}")
    print(f"{'seconds of this run':<24} {time.monotonic() - start:>12,.0f}")
    return int(any(counts[name] for name in WRONG))


if __name__ == "__main__":
    sys.exit(main())
