"""Traces: every run of an agent, token for token, as JSON lines at the end of a file.

A turn is one line, written whole when the turn ends, so that a killed process loses the turn in flight and
leaves a file that can be read. `trace_format` says what is in a line, and reads them.
"""

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harmony.agent.events import CommentaryDelta, Event, ReasoningDelta, TextDelta, Usage
from harmony.agent.run import Limits
from harmony.agent.trace_format import EventLine, Header, Line, RunLine, TurnLine, common_prefix
from harmony.errors import HarmonyError, TraceError
from harmony.runtime.generation import (
    ConstrainedEngine,
    GeneratedToken,
    SamplingParams,
    TokenEngine,
    keeps_to_grammars,
)
from harmony.transcript import Transcript

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint


class TraceFile:
    """A file that runs are added to. Raises TraceError for one that cannot be written or is no trace."""

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)
        self._header = f"{Header().model_dump_json()}\n".encode()
        try:
            self._append(self._opening())
        except OSError as error:
            raise self._unwritable(error) from None

    def begin(self, transcript: Transcript, limits: Limits) -> "RunTrace":
        """The trace of a run that begins with this transcript; nothing is written before its first event."""
        return RunTrace(self, transcript, limits)

    def write(self, line: Line) -> None:
        """Add one line. Raises TraceError."""
        try:
            self._append(f"{line.model_dump_json()}\n".encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def _opening(self) -> bytes:
        """What has to be written before the first run of this process."""
        with self._file.open("a+b") as file:
            if file.tell() == 0:
                return self._header
            file.seek(0)
            if file.readline() != self._header:
                raise TraceError(f"{self._file} is not empty and no trace; choose another file")
            file.seek(-1, 2)
            return b"" if file.read() == b"\n" else b"\n"

    def _append(self, data: bytes) -> None:
        with self._file.open("ab", buffering=0) as file:
            file.write(data)

    def _unwritable(self, error: OSError) -> TraceError:
        return TraceError(
            f"{self._file} cannot be written: {error.strerror}; choose another file to trace to"
        )


class RunTrace:
    """What is recorded of one run: its turns through `recorded`, its events through `events`."""

    def __init__(self, file: TraceFile, transcript: Transcript, limits: Limits) -> None:
        self.run = secrets.token_hex(6)
        self._file = file
        saved = json.loads(transcript.to_json())
        self._line = RunLine(run=self.run, time=datetime.now(UTC), limits=limits, transcript=saved)
        self._context = transcript.prompt
        self._begun = time.perf_counter()
        self._sampled = 0

    async def events(
        self, events: AsyncGenerator[Event], usage: Callable[[], Usage]
    ) -> AsyncGenerator[Event]:
        """The events of the run, each recorded but the deltas, which its tokens hold."""
        self._begun = time.perf_counter()
        self._file.write(self._line)
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, ReasoningDelta | CommentaryDelta | TextDelta):
                    seconds = round(time.perf_counter() - self._begun, 6)
                    self._file.write(
                        EventLine(
                            run=self.run,
                            seconds=seconds,
                            sampled=self._sampled,
                            usage=usage(),
                            event=event,
                        )
                    )
                yield event

    def recorded(self, engine: TokenEngine) -> TokenEngine:
        """`engine`, with what it is asked and gives recorded; one that keeps to grammars still does."""
        if keeps_to_grammars(engine):
            return _ConstrainedRecorder(engine, self)
        return _Recorder(engine, self)

    def count(self) -> None:
        """One more token was sampled."""
        self._sampled += 1

    def add(
        self,
        engine: TokenEngine,
        prompt: Sequence[int],
        sampling: SamplingParams,
        tokens: Sequence[GeneratedToken],
        seconds: Sequence[float],
        error: str | None,
    ) -> None:
        """Write one turn."""
        kept = common_prefix(self._context, prompt)
        last = tokens[-1] if tokens else GeneratedToken(0)
        ids = [token.token for token in tokens]
        line = TurnLine(
            run=self.run,
            model=engine.name,
            context_length=engine.context_length,
            vocab_size=engine.vocab_size if keeps_to_grammars(engine) else None,
            sampling=sampling,
            kept=kept,
            added=list(prompt[kept:]),
            tokens=ids,
            seconds=[round(each, 6) for each in seconds],
            logprobs=[] if sampling.logprobs is None else [token.logprob for token in tokens],
            top_logprobs=[list(token.top_logprobs) for token in tokens] if sampling.logprobs else [],
            cached_tokens=last.cached_tokens,
            finish_reason=last.finish_reason,
            closed=last.closed,
            error=error,
        )
        self._context = [*prompt, *ids]
        self._file.write(line)


class _Recorder:
    """A TokenEngine that writes down each generation when it ends, however it ends."""

    def __init__(self, engine: TokenEngine, trace: RunTrace) -> None:
        self._engine = engine
        self._trace = trace

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    @property
    def default_sampling(self) -> SamplingParams:
        return self._engine.default_sampling

    def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        return self._record(prompt, sampling, self._engine.generate(prompt, sampling, stop=stop))

    async def aclose(self) -> None:
        await self._engine.aclose()

    async def _record(
        self, prompt: Sequence[int], sampling: SamplingParams, generation: AsyncGenerator[GeneratedToken]
    ) -> AsyncGenerator[GeneratedToken]:
        tokens: list[GeneratedToken] = []
        seconds: list[float] = []
        error, asked = None, time.perf_counter()
        try:
            async with aclosing(generation):
                async for token in generation:
                    seconds.append(time.perf_counter() - asked)
                    tokens.append(token)
                    self._trace.count()
                    yield token
        except HarmonyError as raised:
            error = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            self._trace.add(self._engine, prompt, sampling, tokens, seconds, error)


class _ConstrainedRecorder(_Recorder):
    """The same for an engine that can keep to a grammar."""

    def __init__(self, engine: ConstrainedEngine, trace: RunTrace) -> None:
        super().__init__(engine, trace)
        self._constrained = engine

    @property
    def vocab_size(self) -> int:
        return self._constrained.vocab_size

    def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: "Constraint | None" = None,
    ) -> AsyncGenerator[GeneratedToken]:
        generation = self._constrained.generate(prompt, sampling, stop=stop, constraint=constraint)
        return self._record(prompt, sampling, generation)
