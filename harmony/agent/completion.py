"""What the model samples in one turn: events as it streams, messages when it has ended."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Literal

from harmony import HarmonyEncoding, Message, Role, StreamableParser, StreamState
from harmony.agent.calls import Call
from harmony.agent.enforcement import FREE, Enforcement, generate
from harmony.agent.events import (
    CommentaryDelta,
    Event,
    Notice,
    ReasoningDelta,
    Repaired,
    StopReason,
    TextDelta,
    Usage,
)
from harmony.agent.retries import NO_RETRIES, Retries
from harmony.errors import EngineError, GrammarError
from harmony.recipients import is_call
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine
from harmony.tools.citations import WholeCitations
from harmony.transcript import Transcript

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint

Teller = type[ReasoningDelta] | type[CommentaryDelta] | type[TextDelta]

_CONTENT: Final = StreamState.CONTENT


class Completion:
    """One turn of the model: from `<|start|>assistant` to the call or the answer that ends it.

    `finish` says how it ended: "stop" when the model ended it, a reason to stop the run when it was cut
    off, None while it goes on or when it was cancelled. If it is not told, there are no events of its
    tokens, which take most of their time.
    """

    def __init__(
        self,
        encoding: HarmonyEncoding,
        engine: TokenEngine,
        prompt: list[int],
        sampling: SamplingParams,
        enforcement: Enforcement = FREE,
        retries: Retries = NO_RETRIES,
        *,
        is_told: bool = True,
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._sampling = sampling
        self._enforcement = enforcement
        self._retries = retries
        self._is_told = is_told
        self._stop = encoding.stop_tokens_for_assistant_actions()
        self._parser = StreamableParser(encoding, Role.ASSISTANT, strict=False)
        self._citations = WholeCitations()
        self._cached = 0
        self._repairs_told = 0
        self._in_content = False
        self._teller: Teller | None = None
        self.finish: Literal["stop"] | StopReason | None = None
        self.closed = False

    async def events(self, seconds_left: Callable[[], float | None]) -> AsyncGenerator[Event]:
        """Sample until the turn ends or the time is up; a failure before the first token is tried again.

        Raises ContextLengthError and EngineError, ConstraintError when a grammar cannot be kept, and
        GrammarError when there is none that could be and one is required; else a notice says so.
        """
        if self._enforcement.notice:
            yield Notice(text=self._enforcement.notice)
        constraint, failures = self._enforcement.constraint, 0
        while self.finish is None:
            try:
                async with aclosing(self._sampled(constraint, seconds_left)) as events:
                    async for event in events:
                        yield event
            except GrammarError as error:
                if self._enforcement.required or constraint is None:
                    raise
                constraint = None
                yield Notice(text=f"this turn is not enforced: {error}")
            except EngineError as error:
                failures += 1
                wait = None if self._parser.tokens else self._retries.wait(failures, seconds_left())
                if wait is None:
                    raise
                yield Notice(text=f"nothing was sampled: {error}; asking again in {wait:g} s")
                await asyncio.sleep(wait)

    async def _sampled(
        self, constraint: "Constraint | None", seconds_left: Callable[[], float | None]
    ) -> AsyncGenerator[Event]:
        generation = generate(
            self._engine, self._prompt, self._sampling, stop=self._stop, constraint=constraint
        )
        if seconds_left() is not None:
            generation = _timed(generation, seconds_left)
        async with aclosing(generation) as tokens:
            try:
                async for token in tokens:
                    self._cached = token.cached_tokens
                    self._parser.process(token.token)
                    if token.finish_reason is not None:
                        self._end(token)
                    if self._is_told:
                        for event in self._told():
                            yield event
                    if self.finish is not None:
                        break
                else:
                    raise EngineError(f"{self._engine.name} ended without a reason; use another engine")
            except TimeoutError:
                self.finish = "timeout"
        if held := self._citations.flush():
            yield TextDelta(text=held)

    @property
    def call(self) -> Call | None:
        """The tool call that ended the turn."""
        last = self._parser.parsed_messages[-1:]
        if not last or last[0].ending is None or not is_call(last[0].message.recipient):
            return None
        return Call.of(last[0].message)

    @property
    def answer(self) -> str | None:
        """What was said to the user in the final channel; None when nothing was."""
        spoken = [m for m in self._parser.messages if m.author.role == Role.ASSISTANT and _is_answer(m)]
        return "".join(message.text for message in spoken) if spoken else None

    def append_to(self, transcript: Transcript) -> None:
        """Append what was sampled, without a header that was cut off."""
        if self._parser.state is StreamState.CONTENT:
            self._parser.process_eos()
        append_parsed(transcript, self._parser)

    @property
    def usage(self) -> Usage:
        """The tokens of this turn."""
        return turn_usage(self._parser, prompt_tokens=len(self._prompt), cached_tokens=self._cached)

    def _told(self) -> list[Event]:
        """What the last token tells."""
        parser = self._parser
        events: list[Event] = []
        if len(parser.diagnostics) > self._repairs_told:
            events += self._repaired()
        was_in_content, self._in_content = self._in_content, parser.state is _CONTENT
        if self._in_content and not was_in_content:
            self._teller = _teller(parser.current_channel, parser.current_recipient)
        if delta := parser.last_content_delta:
            if not self._in_content and not was_in_content:  # what is left of a header
                ended = parser.parsed_messages[-1].message
                self._teller = _teller(ended.channel, ended.recipient)
            if self._teller is TextDelta:
                delta = self._citations.feed(delta)
            if delta and self._teller is not None:
                events.append(self._teller(text=delta))
        if not self._in_content and (held := self._citations.flush()):
            events.append(TextDelta(text=held))
        return events

    def _end(self, last: GeneratedToken) -> None:
        self.closed = last.closed
        if last.finish_reason == "stop":
            self.finish = "stop"
        else:
            spent = len(self._parser.tokens) == self._sampling.max_tokens
            self.finish = "max_tokens" if spent else "context"

    def _repaired(self) -> list[Event]:
        """What was repaired since this was asked last."""
        repairs = self._parser.diagnostics[self._repairs_told :]
        self._repairs_told += len(repairs)
        return [Repaired(problem=repair.fault, assumed=repair.assumed) for repair in repairs]


def _teller(channel: str | None, recipient: str | None) -> Teller | None:
    """How more of a message is told to its reader; None for calls, which are told when they are whole."""
    if is_call(recipient):
        return None
    if channel == "analysis":
        return ReasoningDelta
    return CommentaryDelta if channel == "commentary" else TextDelta


async def _timed(
    generation: AsyncGenerator[GeneratedToken], seconds_left: Callable[[], float | None]
) -> AsyncGenerator[GeneratedToken]:
    """The tokens while there is time; raises TimeoutError when it is up."""
    async with aclosing(generation) as tokens:
        while True:
            async with asyncio.timeout(seconds_left()):
                token = await anext(tokens, None)
            if token is None:
                return
            yield token


def _is_answer(message: Message) -> bool:
    return message.channel not in ("analysis", "commentary") and not is_call(message.recipient)


def append_parsed(transcript: Transcript, parser: StreamableParser) -> None:
    """Append the messages that a parser has finished, with their tokens as sampled."""
    if parsed := parser.parsed_messages:
        transcript.append_sampled(parser.tokens[: parsed[-1].span.stop], parsed)


def turn_usage(parser: StreamableParser, *, prompt_tokens: int, cached_tokens: int) -> Usage:
    """The tokens of a turn whose sampled ones a parser has read."""
    thought = (p.span for p in parser.parsed_messages if p.message.channel == "analysis")
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=len(parser.tokens),
        reasoning_tokens=sum(map(len, thought)),
    )
