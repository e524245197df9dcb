"""The speed of the format beside openai-harmony: `python tests/bench/format.py`, about two minutes.

Both sides take turns, and the medians of their CPU time are compared. It prints one table in Markdown; a
ratio of 10 says that ours takes a tenth of the reference's time. `--quick` does all of it once, on little.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harmony
from harmony.transcript import Transcript
from harmony.vocabulary import ordinary_tokens, tiktoken_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SENTENCE = "The quick brown fox jumps over the lazy dog, then it naps under the old oak tree by the river. "
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "The city, with its country"},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
    },
    "required": ["city"],
}
REPEATED = ("a", " ", "\n", "\t", "!", "ab", "é", "🤖", "日本")


class Side:
    """One of the two libraries, which have the same names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.library: Any = import_module(name)
        self.encoding = self.library.load_harmony_encoding("HarmonyGptOss")

    def conversation(self, size: int, mark: object = "") -> Any:
        """Instructions with one tool, then questions and answers; with a new `mark`, all texts are new."""
        role, message = self.library.Role, self.library.Message.from_role_and_content
        system = self.library.SystemContent.new().with_conversation_start_date(f"2026-01-01{mark}")
        tool = self.library.ToolDescription.new("get_weather", "The weather in a city.", PARAMETERS)
        developer = self.library.DeveloperContent.new().with_instructions(f"Be brief{mark}.")
        messages = [
            message(role.SYSTEM, system),
            message(role.DEVELOPER, developer.with_function_tools([tool])),
        ]
        for number in range(2, size):
            said_by = role.ASSISTANT if number % 2 else role.USER
            messages.append(message(said_by, f"Number {number}{mark}. {SENTENCE * 2}"))
            if said_by == role.ASSISTANT:
                messages[-1].with_channel("final")
        return self.library.Conversation.from_messages(messages)

    def parser(self) -> Any:
        return self.library.StreamableParser(self.encoding, self.library.Role.ASSISTANT)


def timed(action: Callable[[], object]) -> float:
    """The seconds of CPU time, which other work on the machine does not lengthen, that an action takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def load(statement: str, side: Side) -> float:
    """In a process of its own, which has imported the library before the clock starts."""
    code = (
        f"from {side.library.load_harmony_encoding.__module__} import load_harmony_encoding\n"
        "from time import process_time\n"
        "load = lambda: load_harmony_encoding('HarmonyGptOss')\n"
        f"start = process_time()\n{statement}\nprint(process_time() - start)"
    )
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def render(messages: int, marks: Iterator[object], side: Side) -> float:
    said = side.conversation(messages, next(marks))
    return timed(lambda: side.encoding.render_conversation_for_completion(said, side.library.Role.ASSISTANT))


def parse(tokens: list[int], role: str | None, side: Side) -> float:
    speaker = role and side.library.Role(role)
    return timed(lambda: side.encoding.parse_messages_from_completion_tokens(tokens, speaker))


def stream(tokens: list[int], side: Side) -> float:
    parser = side.parser()

    def read() -> None:
        for token in tokens:
            parser.process(token)

    return timed(read)


def stream_and_look(tokens: list[int], side: Side) -> float:
    parser = side.parser()

    def read() -> None:
        for token in tokens:
            parser.process(token)
            _ = parser.current_content, parser.last_content_delta, parser.state

    return timed(read)


def encode(text: str, side: Side) -> float:
    return timed(lambda: side.encoding.encode(text, disallowed_special=()))


def append(transcript: Transcript, texts: Iterator[str]) -> float:
    branch = transcript.copy()
    question = harmony.Message.from_role_and_content(harmony.Role.USER, next(texts))
    return timed(lambda: branch.append(question))


@dataclass(frozen=True)
class Row:
    """An operation, the seconds that each side takes, and the ratio that was aimed at."""

    operation: str
    ours: float
    reference: float
    goal: float | None
    note: str = ""

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{self.goal:g}"
        times = f"{duration(self.ours)} | {self.note}{duration(self.reference)}"
        return f"| {self.operation} | {times} | {self.reference / self.ours:,.1f} | {goal} |"


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(0.0123)
    '12.3 ms'
    """
    scale, unit = next(
        (s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if seconds * s >= 1 or u == "µs"
    )
    return f"{float(f'{seconds * scale:.3g}'):,g} {unit}"


class Bench:
    """All operations, in `turns`, on conversations of `messages` and texts of `sentences` or `characters`.

    The reference gets a `sample` of the characters, because its time grows with their square.
    """

    def __init__(self, *, turns: int, messages: int, sentences: int, characters: int, sample: int) -> None:
        self.ours, self.reference = Side("harmony"), Side("openai_harmony")
        self.turns, self.messages = turns, messages
        self.sentences, self.characters, self.sample = sentences, characters, sample
        for side in (self.ours, self.reference):
            side.encoding.encode("Both have read what they need before a clock starts.")

    def rows(self) -> Iterator[Row]:
        yield from self.loading()
        yield from self.rendering()
        yield from self.parsing()
        yield from self.encoding()

    def compare(
        self,
        operation: str,
        goal: float | None,
        clock: Callable[[Side], float],
        ours: Callable[[], float] | None = None,
        *,
        runs: int = 10,
    ) -> Row:
        """The medians over turns of the mean of `runs`, with one clock for both unless ours has its own."""
        clocks = (ours or partial(clock, self.ours), partial(clock, self.reference))
        turns = [[statistics.mean(side() for _ in range(runs)) for side in clocks] for _ in range(self.turns)]
        return Row(operation, *map(statistics.median, zip(*turns, strict=True)), goal)

    def loading(self) -> Iterator[Row]:
        word, again = "load().encode('hi', disallowed_special=())", "load(); start = process_time(); load()"
        yield self.compare("load, first in a process", 2, partial(load, "load()"), runs=1)
        yield self.compare("load and encode a word, first in a process", 2, partial(load, word), runs=1)
        yield self.compare("load again", None, partial(load, again), runs=1)

    def rendering(self) -> Iterator[Row]:
        for size, goal in ((3, 4), (self.messages, 8)):
            new, known = partial(render, size, count()), partial(render, size, repeat(""))
            yield self.compare(f"render {size} messages, all texts new", goal, new)
            yield self.compare(f"render {size} messages, all texts rendered before", goal, known)
        transcript = Transcript(self.ours.encoding)
        transcript.append(*self.ours.conversation(self.messages))
        texts = (f"Question {number}. {SENTENCE * 2}" for number in count())
        operation = f"append one to a transcript of {self.messages} (reference: render them)"
        yield self.compare(operation, 50, known, partial(append, transcript, texts))

    def parsing(self) -> Iterator[Row]:
        said = self.ours.encoding.render_conversation(self.ours.conversation(self.messages))
        yield self.compare(f"parse {self.messages} messages", 4, partial(parse, said, None))
        text = SENTENCE * self.sentences
        thought, answer = f"<|channel|>analysis<|message|>{text}<|end|>", f"<|channel|>final<|message|>{text}"
        written = f"{thought}<|start|>assistant{answer}<|return|>"
        tokens = self.ours.encoding.encode(written, allowed_special="all")
        size = f"a completion of {len(tokens):,} tokens"
        yield self.compare(f"parse {size}", 1.5, partial(parse, tokens, "assistant"))
        yield self.compare(f"stream {size}", 1, partial(stream, tokens))
        operation = f"stream {size}, and read content, delta and state at each"
        yield self.compare(operation, 100, partial(stream_and_look, tokens), runs=1)

    def encoding(self) -> Iterator[Row]:
        prose = SENTENCE * self.sentences
        yield self.compare(f"encode {len(prose):,} characters of prose", None, partial(encode, prose))
        single, *others = map(self.repetition, REPEATED)
        slowest = max(others, key=lambda row: row.ours)
        yield single
        yield replace(slowest, operation=f"{slowest.operation}, the slowest of {len(others)} others")

    def repetition(self, unit: str) -> Row:
        """One text of ours against the square of the reference's sample."""
        ours = encode(unit * (self.characters // len(unit)), self.ours)
        sample = encode(unit * (self.sample // len(unit)), self.reference)
        reference = sample * (self.characters / self.sample) ** 2
        return Row(f"encode {unit!r} * {self.characters // len(unit):,}", ours, reference, None, "about ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do all of it once, on little data")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "o200k_base.tiktoken").write_bytes(tiktoken_lines(ordinary_tokens()))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        if parser.parse_args().quick:
            bench = Bench(turns=1, messages=5, sentences=2, characters=1_000, sample=100)
        else:
            bench = Bench(turns=11, messages=100, sentences=190, characters=1_000_000, sample=16_000)
        print("| operation | ours | openai-harmony | ratio | goal |\n| :--- | ---: | ---: | ---: | ---: |")
        for row in bench.rows():
            print(row, flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("openai-harmony", "tiktoken", "pydantic"))
    print(f"\nPython {platform.python_version()}, {versions}, {platform.machine()}. CPU time of one thread.")
    print("“About”: from a shorter text, as the reference's time grows with the square of its length.")


if __name__ == "__main__":
    main()
