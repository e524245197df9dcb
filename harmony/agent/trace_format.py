"""What a trace holds: JSON lines, the version first, then of each run its beginning, turns and events.

The tokens of a run are stored once: its transcript as it was asked, and of each turn what the prompt adds to
the one before, and what was sampled. Every line names its run, so that runs at the same time share a file.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from harmony.agent.events import Event, Flagged, RunFinished, ToolCalled, ToolReturned, Usage
from harmony.agent.run import Limits
from harmony.encoding import HarmonyEncoding
from harmony.errors import TraceError
from harmony.runtime.generation import FinishReason, GeneratedToken, SamplingParams, TokenLogprob
from harmony.transcript import Transcript

__all__ = ["TracedRun", "TracedTurn", "read_trace"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Header(_Line):
    """The first line of a file."""

    type: Literal["trace"] = "trace"
    version: Literal[1] = 1


class RunLine(_Line):
    """A run begins: what it was asked, by the saved transcript, and within which limits."""

    type: Literal["run"] = "run"
    run: str
    time: datetime
    limits: Limits
    transcript: dict[str, JsonValue]


class TurnLine(_Line):
    """One generation of an engine.

    Its prompt is the first `kept` tokens of the context before (the prompt and the sampled tokens of the
    run's turn before; at first the transcript's prompt), and `added`. `seconds` are when each token came,
    from the request on. `logprobs` and `top_logprobs` are empty where none were asked for. `finish_reason`
    None says that it was cut off, by `error` if there was one, which begins with the error's name.
    """

    type: Literal["turn"] = "turn"
    run: str
    model: str
    context_length: int
    vocab_size: int | None
    sampling: SamplingParams
    kept: int
    added: list[int]
    tokens: list[int]
    seconds: list[float]
    logprobs: list[float | None] = []
    top_logprobs: list[list[TokenLogprob]] = []
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    closed: bool = False
    error: str | None = None


class EventLine(_Line):
    """An event that is no delta; the deltas are in the tokens.

    It came `seconds` after the run began, when the run had sampled so many tokens; `usage` is that of its
    turns until then, and of the runs that its tools have begun.
    """

    type: Literal["event"] = "event"
    run: str
    seconds: float
    sampled: int = 0
    usage: Usage = Usage()
    event: Event


Line = Header | RunLine | TurnLine | EventLine
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


@dataclass(frozen=True)
class TracedTurn:
    """A generation as it was: the whole prompt, and what was sampled after it."""

    prompt: tuple[int, ...]
    line: TurnLine

    @property
    def generated(self) -> list[GeneratedToken]:
        """What the engine gave."""
        line, last = self.line, len(self.line.tokens) - 1
        return [
            GeneratedToken(
                token,
                line.finish_reason if index == last else None,
                line.logprobs[index] if line.logprobs else None,
                tuple(line.top_logprobs[index]) if line.top_logprobs else (),
                line.cached_tokens,
                line.closed and index == last,
            )
            for index, token in enumerate(line.tokens)
        ]


@dataclass(frozen=True)
class TracedRun:
    """A run as it was recorded; it may have ended at any point."""

    line: RunLine
    turns: tuple[TracedTurn, ...]
    events: tuple[EventLine, ...]

    @property
    def finished(self) -> RunFinished | None:
        """How it ended; None if it was stopped or its process was killed."""
        ends = [line.event for line in self.events if isinstance(line.event, RunFinished)]
        return ends[-1] if ends else None

    @property
    def answers(self) -> list[ToolReturned]:
        """What the tools said."""
        return [line.event for line in self.events if isinstance(line.event, ToolReturned)]

    @property
    def spent(self) -> list[Usage]:
        """What runs that tools have begun used for each of the answers."""
        spent, before = list[Usage](), Usage()
        for line in self.events:
            if isinstance(line.event, ToolCalled):
                before = line.usage
            elif isinstance(line.event, ToolReturned):
                spent.append(line.usage - before)
        return spent

    @property
    def flags(self) -> list[tuple[int, Flagged]]:
        """What the monitor of the reasoning found, each after so many sampled tokens."""
        return [(line.sampled, line.event) for line in self.events if isinstance(line.event, Flagged)]

    def transcript(self, encoding: HarmonyEncoding) -> Transcript:
        """The conversation up to the question. Raises TranscriptError for one that is none."""
        return _transcript(self.line, encoding)


def read_trace(file: str | Path, encoding: HarmonyEncoding) -> list[TracedRun]:
    """The runs in a file, in the order in which they began.

    A line that a killed process left half-written is passed over: the last, or one before a new run. Raises
    TraceError for a file that cannot be read or holds anything else, TranscriptError for a run whose
    transcript is none.
    """
    try:
        raw = Path(file).read_bytes()
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}; give the file of --trace") from None
    lines = _lines(raw, str(file))
    return [_run(line, lines, encoding, str(file)) for line in lines if isinstance(line, RunLine)]


def _lines(raw: bytes, file: str) -> list[Line]:
    texts = raw.removesuffix(b"\n").split(b"\n")
    found: list[Line] = []
    torn: int | None = None
    for number, text in enumerate(texts, start=1):
        try:
            line = _LINE.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid" and number > 1 and torn is None:
                torn = number
                continue
            place = ".".join(map(str, first["loc"]))
            raise TraceError(f"{file}, line {number}: {place} {first['msg']}; this is no trace") from None
        if isinstance(line, Header) != (number == 1):
            raise TraceError(f"{file}, line {number}: a trace begins with one line of its version")
        if torn is not None and not isinstance(line, RunLine):
            raise TraceError(f"{file}, line {torn}: it is no JSON, and more of its run follows")
        torn = None
        found.append(line)
    return found


def _run(
    begun: RunLine,
    lines: Sequence[Line],
    encoding: HarmonyEncoding,
    file: str,
) -> TracedRun:
    context = tuple(_transcript(begun, encoding).prompt)
    turns: list[TracedTurn] = []
    events: list[EventLine] = []
    for line in lines:
        if isinstance(line, EventLine) and line.run == begun.run:
            events.append(line)
        elif isinstance(line, TurnLine) and line.run == begun.run:
            _check(line, len(context), f"{file}, run {begun.run}, turn {len(turns) + 1}")
            prompt = (*context[: line.kept], *line.added)
            context = (*prompt, *line.tokens)
            turns.append(TracedTurn(prompt, line))
    return TracedRun(begun, tuple(turns), tuple(events))


def _check(line: TurnLine, context: int, place: str) -> None:
    """Raise TraceError where the parts of a turn do not fit each other."""
    lengths = {len(part) for part in (line.seconds, line.logprobs, line.top_logprobs) if part}
    if not 0 <= line.kept <= context or lengths - {len(line.tokens)}:
        raise TraceError(f"{place}: its parts do not fit each other; record the run again")


def _transcript(line: RunLine, encoding: HarmonyEncoding) -> Transcript:
    return Transcript.from_json(encoding, json.dumps(line.transcript))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
