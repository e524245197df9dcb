"""The speed of the format beside openai-harmony: `python tests/bench/format.py`, about three minutes.

Both sides take turns, and their medians are compared. It prints one table in Markdown; a ratio of 10 says
that ours takes a tenth of the reference's time. `--quick` does all of it once, on little data.
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
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import count
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
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def load(statement: str, side: Side) -> float:
    """In a process of its own, which has imported the library before the clock starts."""
    code = (
        f"from {side.library.load_harmony_encoding.__module__} import load_harmony_encoding\n"
        "from time import perf_counter\n"
        "load = lambda: load_harmony_encoding('HarmonyGptOss')\n"
        f"start = perf_counter()\n{statement}\nprint(perf_counter() - start)"
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
    note: str

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
    """All operations, repeated `repeat` times on conversations of `messages` and texts of `characters`."""

    def __init__(self, *, repeat: int, messages: int, sentences: int, characters: int, sample: int) -> None:
        self.ours, self.reference = Side("harmony"), Side("openai_harmony")
        self.repeat, self.messages = repeat, messages
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
        at_most: int = 1000,
    ) -> Row:
        """Time both sides with one clock, unless ours has its own."""
        ours = ours or partial(clock, self.ours)
        pairs = [(ours(), clock(self.reference)) for _ in range(min(self.repeat, at_most))]
        return Row(operation, *(statistics.median(times) for times in zip(*pairs, strict=True)), goal, "")

    def loading(self) -> Iterator[Row]:
        word, again = "load().encode('hi', disallowed_special=())", "load(); start = perf_counter(); load()"
        yield self.compare("load, first in a process", 2, partial(load, "load()"), at_most=9)
        yield self.compare("load, then encode a word", 2, partial(load, word), at_most=9)
        yield self.compare("load again", None, partial(load, again), at_most=9)

    def rendering(self) -> Iterator[Row]:
        for size, goal in ((3, 4), (self.messages, 8)):
            yield self.compare(f"render {size} messages, texts all new", goal, partial(render, size, count()))
            same = ("" for _ in count())
            yield self.compare(
                f"render {size} messages, as in the turn before", goal, partial(render, size, same)
            )
        transcript = Transcript(self.ours.encoding)
        transcript.append(*self.ours.conversation(self.messages))
        texts = (f"Question {number}. {SENTENCE * 2}" for number in count())
        operation = f"append one to {self.messages} messages (reference: render all)"
        whole = partial(render, self.messages, count())
        yield self.compare(operation, 50, whole, partial(append, transcript, texts))

    def parsing(self) -> Iterator[Row]:
        said = self.ours.encoding.render_conversation(self.ours.conversation(self.messages))
        yield self.compare(f"parse {self.messages} messages", 4, partial(parse, said, None))
        text = SENTENCE * self.sentences
        start, second = (
            "<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        )
        written = f"{start}{text}{second}{text}<|return|>"
        tokens = self.ours.encoding.encode(written, allowed_special="all")
        size = f"{len(tokens):,} tokens"
        yield self.compare(f"parse a completion of {size}", 1.5, partial(parse, tokens, "assistant"))
        yield self.compare(f"stream {size}", 1, partial(stream, tokens))
        operation = f"stream {size}, content, delta and state read at each"
        yield self.compare(operation, 100, partial(stream_and_look, tokens), at_most=5)

    def encoding(self) -> Iterator[Row]:
        prose = SENTENCE * self.sentences
        yield self.compare(f"encode {len(prose):,} characters of prose", None, partial(encode, prose))
        for unit in REPEATED:
            ours = statistics.median(
                encode(unit * (self.characters // len(unit)), self.ours) for _ in range(3)
            )
            sample = encode(unit * (self.sample // len(unit)), self.reference)
            reference = sample * (self.characters / self.sample) ** 2
            operation = f"encode {unit!r} again and again, {self.characters:,} characters"
            yield Row(operation, ours, reference, None, "about ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do all of it once, on little data")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "o200k_base.tiktoken").write_bytes(tiktoken_lines(ordinary_tokens()))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
        size = (
            {"repeat": 1, "messages": 5, "sentences": 2, "characters": 1_000, "sample": 100}
            if quick
            else {"repeat": 31, "messages": 100, "sentences": 190, "characters": 1_000_000, "sample": 16_000}
        )
        print("| operation | ours | openai-harmony | ratio | goal |\n| :--- | ---: | ---: | ---: | ---: |")
        for row in Bench(**size).rows():
            print(row, flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("openai-harmony", "tiktoken", "pydantic"))
    print(f"\nPython {platform.python_version()}, {versions}; {platform.machine()}, one thread.")
    print("About: from a shorter text, as its time grows with the square of the length.")


if __name__ == "__main__":
    main()
