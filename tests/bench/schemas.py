"""Measure how many schemas are enforced, and how soundly, beside llguidance alone and xgrammar.

    python tests/bench/schemas.py --maskbench maskbench_sample.jsonl.gz --half B
    python tests/bench/schemas.py --maskbench … --half B --sample 150 --vs xgrammar --masks --limit 30
    python tests/bench/schemas.py --maskbench … --openai
    python tests/bench/schemas.py --suite json_schema_test_suite_2020_12.json.gz

MaskBench (https://github.com/guidance-ai/jsonschemabench) is a file of one JSON object a line, with `name`,
`schema` and `tests` of `data` and `valid`. It is halved by a hash of the name: A to work on, B to report.
A schema is right if every one of its tests is: a valid value may be written in some order of properties, an
invalid one in none. Compiling alone counts for nothing, and a refused schema is not right.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schema_engines import Engine, Llguidance, Ours, Verdicts, Xgrammar, our_tokenizer

from harmony.errors import SchemaError
from harmony.schemas import first_breach

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Case:
    """A schema and its tests."""

    name: str
    schema: Any
    values: list[Any]
    valid: list[bool]


@dataclass
class Score:
    """What an engine, or one reading of it, made of all cases."""

    name: str
    right: int = 0
    refused: int = 0
    invalid_accepted: Counter[str] = field(default_factory=Counter)
    valid_refused: Counter[str] = field(default_factory=Counter)
    compile_ms: list[float] = field(default_factory=list)
    masks_us: list[float] = field(default_factory=list)

    def add(self, case: Case, done: Verdicts, accepted: list[bool], refused: str | None) -> None:
        """Count one case."""
        if refused is not None:
            self.refused += 1
            return
        self.compile_ms.append(done.compile_ms)
        self.masks_us += done.masks_us
        wrong = [was and not valid for was, valid in zip(accepted, case.valid, strict=True)]
        missed = [valid and not was for was, valid in zip(accepted, case.valid, strict=True)]
        self.invalid_accepted[case.name] += sum(wrong)
        self.valid_refused[case.name] += sum(missed)
        self.right += not any(wrong) and not any(missed)

    def row(self, total: int) -> str:
        """The score as a row of the table."""
        invalid = +self.invalid_accepted
        missed = +self.valid_refused
        return (
            f"{self.name:34} {self.right:5} = {self.right / total:6.1%} {self.refused:8} "
            f"{len(invalid):7} / {sum(invalid.values()):4} {len(missed):7} / {sum(missed.values()):4}   "
            f"{_quantiles(self.compile_ms, (50, 90, 99))}   {_quantiles(self.masks_us, (50, 99, 99.9))}"
        )


HEAD = (
    f"{'':34} {'right':>14} {'refused':>8} {'invalid accepted':>14} {'valid refused':>14}   "
    "compile p50/p90/p99 ms     mask p50/p99/p99.9 us\n"
    f"{'':34} {'schemas':>14} {'schemas':>8} {'schemas/tests':>14} {'schemas/tests':>14}"
)


def maskbench(path: str, half: str | None) -> Iterator[Case]:
    """The schemas of MaskBench, or of one half."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if half in (None, _half(row["name"])):
                tests = row["tests"]
                yield Case(
                    row["name"], row["schema"], [t["data"] for t in tests], [t["valid"] for t in tests]
                )


def suite(path: str) -> Iterator[Case]:
    """The groups of the JSON Schema Test Suite."""
    with gzip.open(path, "rt", encoding="utf-8") as text:
        for file in json.load(text):
            for group in file["groups"]:
                yield Case(
                    f"{file['file']}: {group['description']}",
                    group["schema"],
                    [test["data"] for test in group["tests"]],
                    [test["valid"] for test in group["tests"]],
                )


def _half(name: str) -> str:
    return "AB"[hashlib.sha256(name.encode()).digest()[0] & 1]


def _is_of_openai(schema: Any) -> bool:
    try:
        return first_breach(schema) is None
    except SchemaError:
        return False


def _quantiles(values: list[float], percents: tuple[float, ...]) -> str:
    ranked = sorted(values)
    if not ranked:
        return "-"
    picked = [ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))] for percent in percents]
    return " / ".join(f"{value:8.2f}" for value in picked)


def measure(cases: list[Case], engines: list[Engine], *, verbose: bool) -> None:
    """Run all engines over each case in turn, and print what came of it."""
    scores: dict[str, Score] = {}
    residuals: Counter[str] = Counter()
    for number, case in enumerate(cases, 1):
        if sys.stderr.isatty() or number % 50 == 0:
            print(f"\r{number} of {len(cases)} schemas", end=" ", file=sys.stderr, flush=True)
        for engine in engines:
            done = engine.verdicts(case.schema, case.values)
            readings = [(engine.name, done.accepted, done.refused)]
            if isinstance(engine, Ours):
                is_partial = "residuals" if done.residuals else done.refused
                readings = [
                    ("harmony, mask alone (strict)", done.by_mask, is_partial),
                    ("harmony, mask and veto", done.accepted, done.refused),
                ]
                residuals.update({residual.keyword for residual in done.residuals})
                if verbose:
                    _tell(case, done)
            for name, accepted, refused in readings:
                scores.setdefault(name, Score(name)).add(case, done, accepted, refused)
    print(file=sys.stderr)
    print(f"{len(cases)} schemas, {sum(len(case.values) for case in cases)} tests")
    print(HEAD)
    for score in scores.values():
        print(score.row(len(cases)))
    print("residual keywords, by schemas:", ", ".join(f"{k} {n}" for k, n in residuals.most_common()))


def _tell(case: Case, done: Verdicts) -> None:
    """Print what is not right with a case."""
    if done.refused is not None:
        print(f"{case.name}: refused: {done.refused}")
        return
    for value, accepted, valid in zip(case.values, done.accepted, case.valid, strict=True):
        if accepted != valid:
            kind = "invalid accepted" if accepted else "valid refused"
            print(f"{case.name}: {kind}: {json.dumps(value)[:200]} {done.residuals[:3]}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--maskbench", metavar="PATH", help="MaskBench as gzipped JSON lines")
    source.add_argument("--suite", metavar="PATH", help="the JSON Schema Test Suite as gzipped JSON")
    parser.add_argument("--half", choices=("A", "B"), help="one half of MaskBench only")
    parser.add_argument("--sample", type=int, metavar="N", help="N schemas drawn with a fixed seed")
    parser.add_argument("--vs", choices=("xgrammar",), help="measure it too, on the same schemas")
    parser.add_argument("--limit", type=float, default=20, help="seconds that xgrammar may take a schema")
    parser.add_argument("--masks", action="store_true", help="time every mask along the valid values")
    parser.add_argument("--verbose", action="store_true", help="print what is not right")
    parser.add_argument("--openai", action="store_true", help="only schemas of OpenAI's strict subset")
    options = parser.parse_args()
    cases = list(suite(options.suite) if options.suite else maskbench(options.maskbench, options.half))
    if options.openai:
        cases = [case for case in cases if _is_of_openai(case.schema)]
    if options.sample:
        cases = random.Random(20260101).sample(cases, options.sample)
    tokenizer = our_tokenizer()
    timed = options.masks
    engines: list[Engine] = [
        Ours(tokenizer, timed=timed),
        Llguidance(tokenizer, lenient=False, timed=timed),
        Llguidance(tokenizer, lenient=True, timed=timed),
    ]
    if options.vs:
        engines += [
            Xgrammar(strict_mode=strict_mode, limit=options.limit, timed=timed)
            for strict_mode in (True, False)
        ]
    measure(cases, engines, verbose=options.verbose)


if __name__ == "__main__":
    main()
