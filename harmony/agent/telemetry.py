"""Spans of runs for OpenTelemetry, named as its semantic conventions for generative AI name them.

Needs the extra `otel`. Source: docs/gen-ai of https://github.com/open-telemetry/semantic-conventions-genai,
which go on from version 1.41 of the semantic conventions and are still in development. Not covered: metrics,
log events, and ids of tool calls, which harmony does not have.
"""

import json
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

__all__ = ["Telemetry"]

try:
    from opentelemetry import context, trace
except ModuleNotFoundError as error:
    raise ImportError("spans need opentelemetry-api: pip install 'gpt-oss-harmony[otel]'") from error

from pydantic_core import from_json

from harmony import Message, Role, Segment, load_encoding
from harmony.agent.events import ApprovalRequested, Event, ToolCalled, ToolReturned, Usage
from harmony.agent.hooks import Hooks
from harmony.agent.run import Run
from harmony.formats import JsonSchema
from harmony.recipients import is_call
from harmony.runtime.generation import SamplingParams

_FUNCTIONS: Final = "functions."
_INSTRUCTING: Final = (Role.SYSTEM, Role.DEVELOPER)
_NOTHING: Final = Usage()


@dataclass(eq=False)
class _Spans:
    """The spans of one run that have not ended, and what the run had used and said before the open turn."""

    run: trace.Span
    chat: trace.Span | None = None
    tool: trace.Span | None = None
    usage: Usage = _NOTHING
    said: int = 0

    @property
    def innermost(self) -> trace.Span:
        return self.tool or self.chat or self.run


class Telemetry(Hooks):
    """Hooks that trace every run of their agent with OpenTelemetry.

    A run is a span `invoke_agent`; in it, each turn of the model is a `chat` and each call an
    `execute_tool`, under which spans of the tool's own code come to lie, another agent's run among them.
    They go to `provider`, or to the global one. `name` is the agent's. With `content` they hold what was
    said too: instructions, messages, reasoning, what tools were asked and answered; without it names,
    figures and errors alone. For hooks of your own, derive from this class and let its methods run.

    >>> Agent(tools=[Python()], hooks=Telemetry(name="calculator"))
    """

    def __init__(
        self, *, name: str | None = None, content: bool = False, provider: trace.TracerProvider | None = None
    ) -> None:
        self._name = name
        self._content = content
        self._tracer = trace.get_tracer("harmony.agent", tracer_provider=provider)
        self._spans: dict[Run[Any], _Spans] = {}

    async def around_run(self, run: Run[Any], events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        asked = {"gen_ai.agent.name": self._name, "gen_ai.conversation.id": run.session_id}
        name = "invoke_agent" if self._name is None else f"invoke_agent {self._name}"
        spans = self._spans[run] = _Spans(self._begin(name, trace.SpanKind.INTERNAL, "invoke_agent", asked))
        if self._content:
            spans.run.set_attribute("gen_ai.input.messages", _messages(run.transcript.messages))
        ending = "cancelled"
        try:
            async with aclosing(events):
                while (event := await self._next(spans, events)) is not None:
                    self._take(spans, event)
                    yield event
        except (Exception, CancelledError) as error:
            ending = "error"
            for span in (spans.tool, spans.chat, spans.run):
                _fail(span, type(error).__qualname__, str(error))
            raise
        finally:
            del self._spans[run]
            if spans.tool is not None:
                spans.tool.end()
            self._end_turn(run, spans, ending)
            self._end_run(run, spans.run)

    async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
        spans, asked = self._spans[run], run.within_limits(sampling)
        request: dict[str, str | int | float | None] = {
            "gen_ai.request.model": run.model,
            "gen_ai.request.stream": True,
            "gen_ai.request.temperature": asked.temperature,
            "gen_ai.request.top_p": asked.top_p,
            "gen_ai.request.top_k": asked.top_k or None,
            "gen_ai.request.seed": asked.seed,
            "gen_ai.request.max_tokens": asked.max_tokens,
            "gen_ai.output.type": "json" if isinstance(run.asked.format, JsonSchema) else "text",
        }
        spans.usage, spans.said = run.usage, len(run.transcript.said)
        spans.run.set_attribute("gen_ai.request.model", run.model)
        spans.chat = self._begin(f"chat {run.model}", trace.SpanKind.CLIENT, "chat", request, spans.run)
        if self._content:
            segments = run.transcript.segments
            spans.chat.set_attribute("gen_ai.system_instructions", _instructions(segments))
            spans.chat.set_attribute("gen_ai.input.messages", _messages(run.transcript.messages))
        context.attach(trace.set_span_in_context(spans.chat))  # until `_next` takes back what it had attached
        return sampling

    async def after_model(self, run: Run[Any]) -> None:
        self._end_turn(run, self._spans[run], _finish_reason(run))

    async def _next(self, spans: _Spans, events: AsyncGenerator[Event]) -> Event | None:
        """The next event, made while the innermost span is the current one; None at the end.

        Between two events it is not, since the code that reads them shares the context.
        """
        token = context.attach(trace.set_span_in_context(spans.innermost))
        try:
            return await anext(events, None)
        finally:
            context.detach(token)

    def _take(self, spans: _Spans, event: Event) -> None:
        if isinstance(event, ToolCalled):
            name = event.tool.removeprefix(_FUNCTIONS)
            asked = {
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function" if event.tool.startswith(_FUNCTIONS) else "extension",
                "gen_ai.tool.call.arguments": event.arguments if self._content else None,
            }
            spans.tool = self._begin(
                f"execute_tool {name}", trace.SpanKind.INTERNAL, "execute_tool", asked, spans.run
            )
        elif isinstance(event, ToolReturned | ApprovalRequested) and spans.tool is not None:
            if isinstance(event, ApprovalRequested):
                spans.tool.add_event("approval requested")
            elif event.error:
                _fail(spans.tool, "ToolError", event.output if self._content else "")
            elif self._content:
                spans.tool.set_attribute("gen_ai.tool.call.result", event.output)
            spans.tool.end()
            spans.tool = None

    def _end_turn(self, run: Run[Any], spans: _Spans, reason: str) -> None:
        """End the open turn of the model, if there is one, with what it has used and said."""
        if spans.chat is None:
            return
        _count(spans.chat, run.usage, spans.usage)
        spans.chat.set_attribute("gen_ai.response.finish_reasons", [reason])
        if self._content:
            said = [s.message for s in run.transcript.said[spans.said :] if s.message is not None]
            spans.chat.set_attribute("gen_ai.output.messages", _messages(said, finish_reason=reason))
        spans.chat.end()
        spans.chat = None

    def _end_run(self, run: Run[Any], span: trace.Span) -> None:
        _count(span, run.usage)
        span.set_attribute("harmony.turns", run.turns)
        if run.stop_reason is not None:
            span.set_attribute("harmony.stop_reason", run.stop_reason)
        if self._content and run.text:
            answer = Message.from_role_and_content(Role.ASSISTANT, run.text)
            said = _messages([answer], finish_reason=_finish_reason(run))
            span.set_attribute("gen_ai.output.messages", said)
        span.end()

    def _begin(
        self,
        name: str,
        kind: trace.SpanKind,
        operation: str,
        attributes: Mapping[str, str | int | float | None],
        parent: trace.Span | None = None,
    ) -> trace.Span:
        common = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "gpt-oss-harmony"}
        known = {key: value for key, value in attributes.items() if value is not None}
        around = None if parent is None else trace.set_span_in_context(parent)
        return self._tracer.start_span(name, around, kind, {**common, **known})


def _count(span: trace.Span, usage: Usage, before: Usage = _NOTHING) -> None:
    span.set_attributes(
        {
            "gen_ai.usage.input_tokens": usage.prompt_tokens - before.prompt_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens - before.cached_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens - before.completion_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens - before.reasoning_tokens,
        }
    )


def _fail(span: trace.Span | None, kind: str, description: str) -> None:
    if span is not None:
        span.set_attribute("error.type", kind)
        span.set_status(trace.StatusCode.ERROR, description)


def _finish_reason(run: Run[Any]) -> str:
    if run.call is not None:
        return "tool_call"
    cut_off = {"max_tokens": "length", "context": "length", "timeout": "timeout", "monitor": "monitor"}
    return cut_off.get(run.stop_reason or "answer", "stop")


def _instructions(segments: Iterable[Segment]) -> str:
    """What the system and the developer say, as the model reads it."""
    decode = load_encoding().decode
    texts = [
        decode(segment.tokens[:-1]).partition("<|message|>")[2]
        for segment in segments
        if segment.message is not None and segment.message.author.role in _INSTRUCTING
    ]
    return json.dumps([{"type": "text", "content": text} for text in texts])


def _messages(messages: Iterable[Message], **fields: str) -> str:
    """Messages without instructions, those of one author after another as the parts of one message."""
    talk = (message for message in messages if message.author.role not in _INSTRUCTING)
    return json.dumps(
        [
            {"role": role.value, "parts": [_part(message) for message in said], **fields}
            for role, said in groupby(talk, key=lambda message: message.author.role)
        ]
    )


def _part(message: Message) -> dict[str, object]:
    if message.author.role == Role.TOOL:
        return {"type": "tool_call_response", "name": message.author.name, "response": message.text}
    if message.recipient is not None and is_call(message.recipient):
        name = message.recipient.removeprefix(_FUNCTIONS)
        return {"type": "tool_call", "name": name, "arguments": _arguments(message.text)}
    kind = "reasoning" if message.channel == "analysis" else "text"
    return {"type": kind, "content": message.text}


def _arguments(text: str) -> object:
    """Arguments as an object, where the model wrote one."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
