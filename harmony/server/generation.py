"""What a request has the model generate: messages as they open, grow and close, built-in tools in between."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from harmony import Author, Message, Role, StreamableParser, StreamState, load_encoding
from harmony.agent.calls import Call, fitted
from harmony.agent.completion import append_parsed, turn_usage
from harmony.agent.enforcement import generate
from harmony.agent.events import Usage
from harmony.agent.routing import Answer, no_such_tool
from harmony.errors import ContextLengthError
from harmony.recipients import called_tool, name_of
from harmony.tools.citations import WholeCitations

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from harmony.agent.routing import Toolbox
    from harmony.runtime.constraint import Constraint
    from harmony.runtime.generation import SamplingParams, TokenEngine
    from harmony.server.rules import TurnRules
    from harmony.tools.citations import Citation
    from harmony.transcript import Transcript

Kind = Literal["reasoning", "commentary", "final", "call", "builtin"]

_KINDS: Final[dict[str | None, Kind]] = {"analysis": "reasoning", "commentary": "commentary"}
_CONTENT: Final = StreamState.CONTENT


@dataclass(frozen=True, slots=True)
class Opened:
    """A message begins; `name` is the called function, or the address of a built-in tool that runs here."""

    kind: Kind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the message that is open."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The message is over; it is not `complete` when a limit cut it off. An answer cites `citations`."""

    text: str
    complete: bool
    citations: Sequence[Citation] = ()


@dataclass(frozen=True, slots=True)
class Returned:
    """What the built-in tool that was called last answered, and what it looked up if it browses."""

    text: str
    error: bool
    action: Mapping[str, str] | None = None


Step = Opened | Delta | Closed | Returned


class Generation:
    """Continues a transcript until the model answers, calls a function of the client, or meets a limit.

    Calls of built-in tools are answered here, and so are those of tools that nobody has. Turns keep to
    `rules`, the first one by the `constraint` that they gave for it. `finish` is "length" where a limit of
    tokens, context or `turns` ended it.
    """

    def __init__(
        self,
        engine: TokenEngine,
        transcript: Transcript,
        sampling: SamplingParams,
        functions: Collection[str],
        toolbox: Toolbox,
        turns: int,
        tool_output_tokens: int,
        rules: TurnRules,
        constraint: Constraint | None,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._constraint = constraint
        self._sampling = sampling
        self.functions = functions
        self._toolbox = toolbox
        self._turns = turns
        self._tool_output_tokens = tool_output_tokens
        self._stop = load_encoding().stop_tokens_for_assistant_actions()
        self._called: Call | None = None
        self.transcript = transcript
        self.usage = Usage()
        self.finish: Literal["stop", "length"] = "length"

    async def steps(self) -> AsyncGenerator[Sequence[Step]]:
        """What happens, in order, by the tokens with which it does.

        Raises ContextLengthError, EngineError and ConstraintError.
        """
        for turn in range(self._turns):
            try:
                async with aclosing(self._turn()) as turn_steps:
                    async for steps in turn_steps:
                        yield steps
            except ContextLengthError:
                if turn == 0:
                    raise
                self.finish = "length"
                return
            if self._called is None:
                return
            action = self._toolbox.action(self._called.recipient, self._called.arguments)
            answer = await self._answer(self._called)
            yield [Returned(answer.text, answer.error, action)]
            self.finish = "length"
            if self._left() == 0:
                return
            self._constraint = await self._rules.constraint(self._engine, first=False)

    def is_functions(self, recipient: str) -> bool:
        """Whether a call goes to a function of the client."""
        return not self.is_builtin(recipient) and name_of(recipient, self.functions) in self.functions

    def is_builtin(self, recipient: str) -> bool:
        """Whether a call goes to a built-in tool that runs here."""
        return recipient.partition(".")[0] in self._toolbox.builtin

    def citations(self, answer: str) -> Sequence[Citation]:
        """What an answer cites of the pages that were displayed."""
        return self._toolbox.citations(answer)

    def _left(self) -> int | None:
        limit = self._sampling.max_tokens
        return None if limit is None else limit - self.usage.completion_tokens

    async def _turn(self) -> AsyncGenerator[Sequence[Step]]:
        """What the model samples up to a call or an answer."""
        prompt, cached = self.transcript.prompt, 0
        left = self._left()
        sampling = self._sampling if left is None else replace(self._sampling, max_tokens=left)
        reading = _Reading(self)
        try:
            generated = generate(self._engine, prompt, sampling, stop=self._stop, constraint=self._constraint)
            async with aclosing(generated) as tokens:
                async for token in tokens:
                    cached = token.cached_tokens
                    if steps := reading.take(token.token):
                        yield steps
                    if token.finish_reason is not None:
                        self.finish = token.finish_reason
                        break
            if steps := reading.end():
                yield steps
        finally:
            append_parsed(self.transcript, reading.parser)
            self.usage += turn_usage(reading.parser, prompt_tokens=len(prompt), cached_tokens=cached)
        self._called = reading.called if self.finish == "stop" else None

    async def _answer(self, call: Call) -> Answer:
        recipient = call.recipient
        if self.is_builtin(recipient):
            answer = await self._toolbox.call(recipient, call.arguments)
        else:
            known = [*self._toolbox.names, *(f"functions.{name}" for name in self.functions)]
            answer = Answer(recipient, f"Error: {no_such_tool(recipient, known)}", error=True)
        most, context_length = self._tool_output_tokens, self._engine.context_length
        answer = replace(answer, text=fitted(load_encoding(), answer.text, most, context_length))
        self.transcript.append(call.answered(answer.author, answer.text))
        return answer


class _Reading:
    """The messages in the tokens of one turn."""

    def __init__(self, generation: Generation) -> None:
        self.parser = StreamableParser(load_encoding(), Role.ASSISTANT, strict=False)
        self._generation = generation
        self._open: Opened | None = None
        self._closed = 0
        self._whole = WholeCitations()

    def take(self, token: int) -> list[Step]:
        parser = self.parser.process(token)
        if parser.state is not _CONTENT:
            return self._close() if len(parser.parsed_messages) > self._closed else []
        if self._open is not None:
            return self._grown(self._open, parser.last_content_delta)
        if not parser.last_content_delta:  # it opens with its first word, in one write
            return []
        header = Message(
            author=Author(role=parser.current_role or Role.ASSISTANT),
            channel=parser.current_channel,
            recipient=parser.current_recipient,
        )
        self._open = self._opened(header)
        return [self._open, *self._grown(self._open, parser.last_content_delta)]

    def end(self) -> list[Step]:
        """Close what a limit cut off, without a header that was cut off."""
        if self.parser.state is not _CONTENT:
            return []
        self.parser.process_eos()
        return self._close()

    @property
    def called(self) -> Call | None:
        """The call that ended the turn, if it is ours to answer."""
        last = self.parser.parsed_messages[-1:]
        if not last or (recipient := called_tool(last[0].message)) is None:
            return None
        return None if self._generation.is_functions(recipient) else Call.of(last[0].message)

    def _close(self) -> list[Step]:
        parsed = self.parser.parsed_messages[self._closed]
        self._closed += 1
        text, opened = parsed.message.text, self._open or self._opened(parsed.message)
        steps: list[Step] = [] if opened is self._open else [opened]
        steps += self._grown(opened, self.parser.last_content_delta)
        if held := self._whole.flush():
            steps.append(Delta(held))
        citations = self._generation.citations(text) if opened.kind == "final" else ()
        steps.append(Closed(text, complete=parsed.ending is not None, citations=citations))
        self._open = None
        return steps

    def _grown(self, opened: Opened, text: str | None) -> list[Step]:
        """More text of a message; of an answer, no part of a citation before all of it."""
        shown = self._whole.feed(text or "") if opened.kind == "final" else text
        return [Delta(shown)] if shown else []

    def _opened(self, message: Message) -> Opened:
        if (recipient := called_tool(message)) is None:
            return Opened(_KINDS.get(message.channel, "final"))
        if self._generation.is_functions(recipient):
            return Opened("call", name_of(recipient, self._generation.functions))
        return Opened("builtin", recipient if self._generation.is_builtin(recipient) else "")
