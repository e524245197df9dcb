"""What the model samples in one turn: events as it streams, messages when it has ended."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

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


class Completion:
    """One turn of the model: from `<|start|>assistant` to the call or the answer that ends it.

    `finish` says how it ended: "stop" when the model ended it, a reason to stop the run when it was cut
    off, None while it goes on or when it was cancelled.
    """

    def __init__(
        self,
        encoding: HarmonyEncoding,
        engine: TokenEngine,
        prompt: list[int],
        sampling: SamplingParams,
        enforcement: Enforcement = FREE,
        retries: Retries = NO_RETRIES,
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._sampling = sampling
        self._enforcement = enforcement
        self._retries = retries
        self._stop = encoding.stop_tokens_for_assistant_actions()
        self._parser = StreamableParser(encoding, Role.ASSISTANT, strict=False)
        self._citations = WholeCitations()
        self._cached = 0
        self._repairs_told = 0
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
                async for event in self._sampled(constraint, seconds_left):
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
        async with aclosing(generation) as tokens:
            while self.finish is None:
                try:
                    left = seconds_left()
                    token = await (anext(tokens) if left is None else _within(left, anext(tokens)))
                except TimeoutError:
                    self.finish = "timeout"
                else:
                    for event in self._take(token):
                        yield event
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

    def _take(self, token: GeneratedToken) -> list[Event]:
        self._cached = token.cached_tokens
        self.closed = token.closed
        parser = self._parser.process(token.token)
        if token.finish_reason == "stop":
            self.finish = "stop"
        elif token.finish_reason == "length":
            spent = len(parser.tokens) == self._sampling.max_tokens
            self.finish = "max_tokens" if spent else "context"
        events: list[Event] = [
            Repaired(problem=repair.fault, assumed=repair.assumed)
            for repair in parser.diagnostics[self._repairs_told :]
        ]
        self._repairs_told += len(events)
        in_content = parser.state is StreamState.CONTENT
        if parser.last_content_delta and (told := self._told(parser.last_content_delta, in_content)):
            events.append(told)
        if not in_content and (held := self._citations.flush()):
            events.append(TextDelta(text=held))
        return events

    def _told(self, text: str, in_content: bool) -> Event | None:
        """What more of a message is to its reader."""
        parser = self._parser
        if in_content:
            channel, recipient = parser.current_channel, parser.current_recipient
        else:
            ended = parser.parsed_messages[-1].message
            channel, recipient = ended.channel, ended.recipient
        if is_call(recipient):
            return None
        if channel == "analysis":
            return ReasoningDelta(text=text)
        if channel == "commentary":
            return CommentaryDelta(text=text)
        shown = self._citations.feed(text)
        return TextDelta(text=shown) if shown else None


async def _within(seconds: float, token: Awaitable[GeneratedToken]) -> GeneratedToken:
    async with asyncio.timeout(seconds):
        return await token


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
