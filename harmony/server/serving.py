"""Requests on one engine: how many at once, what runs for each, what is kept for the next.

The engine takes turns or batches as it can; its queue is first come, first served, turn by turn, so that
a request whose tool runs holds up no other.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from harmony import SystemContent
from harmony.agent.calls import TOOL_OUTPUT_TOKENS
from harmony.agent.routing import Toolbox
from harmony.errors import HarmonyError, RequestError, ToolError
from harmony.server.chat import ChatWriter
from harmony.server.generation import Generation
from harmony.server.requests import Asked, read_request, validate
from harmony.server.responses import ResponseWriter
from harmony.server.rules import TurnRules, stated_rules
from harmony.server.store import Bounded, State, States
from harmony.server.wire import sse
from harmony.tools.tool import ServedTool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.responses import Response

    from harmony import TurnGrammar
    from harmony.runtime.generation import TokenEngine
    from harmony.server.requests import Api

Json = dict[str, Any]
Writer = ResponseWriter | ChatWriter

_WRITERS: Final[dict[str, type[ResponseWriter] | type[ChatWriter]]] = {
    "responses": ResponseWriter,
    "chat": ChatWriter,
}
_RENDERED_ASIDE: Final = 20_000  # characters, from which on rendering is left to a thread

_KEPT_GRAMMARS: Final = 32

_log = logging.getLogger("harmony.server")


@dataclass(frozen=True)
class Limits:
    """What bounds the server: requests that run or wait, a body, turns of a request, what is remembered.

    The answer of a tool is cut in the middle to `tool_output_tokens`, or to a quarter of the model's context.
    `kept_tokens` are those of transcripts and of the pages that were displayed in them, `kept_items` the
    characters of responses that a `previous_response_id` can name, both in memory.
    """

    requests: int = 64
    body_bytes: int = 4 * 2**20
    turns: int = 20
    tool_output_tokens: int = TOOL_OUTPUT_TOKENS
    kept_tokens: int = 4_000_000
    kept_items: int = 64_000_000


class Serving:
    """One engine, and the requests that it answers; each has copies of the tools.

    Raises ToolError when two tools have one name, and for what is no `ServedTool`.
    """

    def __init__(self, engine: TokenEngine, tools: Sequence[ServedTool], limits: Limits) -> None:
        for tool in tools:
            if not isinstance(tool, ServedTool):
                raise ToolError(
                    f"{tool!r} cannot be served: Python and Browser can; functions are the client's"
                )
        Toolbox(tools).fit(engine.context_length)
        self.engine = engine
        self.limits = limits
        self._tools = tools
        self._running = 0
        self._system = lru_cache(maxsize=2)(self._system_on)
        self._states = States(limits.kept_tokens)
        self._responses: Bounded[list[Json]] = Bounded(limits.kept_items)
        self._rules: Bounded[TurnRules] = Bounded(_KEPT_GRAMMARS)
        self.grammars: Bounded[TurnGrammar] = Bounded(_KEPT_GRAMMARS)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """A place among the requests that run or wait. Raises RequestError when all are taken."""
        if self._running >= self.limits.requests:
            raise RequestError(
                f"{self._running} requests are running or waiting; try again in a moment",
                status=429,
                code="rate_limit_exceeded",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def answer(self, api: Api, body: Json) -> Answering:
        """A request that is read, rendered and ready to run. Raises RequestError, HarmonyError."""
        validate(api, body, self.engine.name)
        before = self._before(body) if api == "responses" else []
        tools = self._tools if body.get("tool_choice") != "none" else ()
        system = self._system(datetime.date.today(), has_tools=bool(tools))

        def render() -> tuple[Asked, State]:
            asked = read_request(api, body, before, system, self.engine)
            return asked, self._states.resume(asked.conversation.messages, tools)

        is_long = len(before) > 100 or len(str(body)) > _RENDERED_ASIDE
        asked, state = await asyncio.to_thread(render) if is_long else render()
        transcript = state.transcript
        if len(transcript.prompt) >= self.engine.context_length:
            raise RequestError(
                f"the prompt has {len(transcript.prompt)} tokens and the context holds "
                f"{self.engine.context_length}; shorten the conversation",
                code="context_length_exceeded",
            )
        toolbox = Toolbox(state.tools)
        toolbox.pass_over(transcript.said)
        rules = self._rules_of(asked, tools)
        generation = Generation(
            self.engine,
            transcript,
            asked.sampling,
            asked.functions,
            toolbox,
            self.limits.turns,
            self.limits.tool_output_tokens,
            rules,
            await rules.constraint(self.engine, first=True),
        )
        return Answering(self, asked, generation, toolbox, state, system)

    def remember(self, answering: Answering, writer: Writer) -> None:
        """Keep what the next request goes on from."""
        asked, said = answering.asked, writer.said
        after = asked.conversation_after(said, answering.system)
        self._states.put(after.messages, answering.state)
        if asked.api == "responses" and asked.body.get("store") is not False:
            items = asked.items_after(said)
            self._responses.put(writer.id, items, len(str(items)))

    def _rules_of(self, asked: Asked, tools: Sequence[ServedTool]) -> TurnRules:
        """The rules of a request, which it has in common with others. Raises RequestError."""
        key = stated_rules(asked)
        if (rules := self._rules.get(key)) is None:
            rules = TurnRules(asked, [tool.namespace for tool in tools])
            self._rules.put(key, rules, 1)
        return rules

    def _system_on(self, day: datetime.date, *, has_tools: bool) -> SystemContent:
        """What the model is told of itself."""
        system = SystemContent.new().with_conversation_start_date(day.isoformat())
        for tool in self._tools if has_tools else ():
            system = system.with_tools(tool.namespace)
        return system

    def _before(self, body: Json) -> list[Json]:
        previous = body.get("previous_response_id")
        if previous is None:
            return []
        if (items := self._responses.get(previous)) is None:
            raise RequestError(
                f"there is no response {previous!r:.100}, or it was too long ago; send the conversation",
                status=404,
                code="previous_response_not_found",
                param="previous_response_id",
            )
        return items


@dataclass(frozen=True)
class Answering:
    """A request that is being answered."""

    serving: Serving
    asked: Asked
    generation: Generation
    toolbox: Toolbox
    state: State
    system: SystemContent

    @property
    def streams(self) -> bool:
        """Whether it was asked for as events."""
        return self.asked.stream

    async def whole(self) -> Response:
        """All of the answer at once."""
        writer = _WRITERS[self.asked.api](self.asked)
        try:
            async for _ in self._events(writer):
                pass
        except HarmonyError as error:
            raise RequestError(str(error), status=500, code="server_error") from error
        return JSONResponse(writer.body)

    async def stream(self) -> AsyncGenerator[bytes]:
        """The answer as server-sent events."""
        writer = _WRITERS[self.asked.api](self.asked)
        named = writer.named_events
        yield sse(writer.begin(), named=named)
        try:
            async with aclosing(self._events(writer)) as all_events:
                async for events in all_events:
                    yield sse(events, named=named)
        except HarmonyError as error:
            _log.error("a generation failed: %s", error)
            yield sse(writer.fail(str(error)), named=named)
        if not named:
            yield b"data: [DONE]\n\n"

    async def _events(self, writer: Writer) -> AsyncGenerator[Sequence[Json]]:
        """The events of each token that has some."""
        try:
            async with aclosing(self.generation.steps()) as all_steps:
                async for steps in all_steps:
                    if events := [event for step in steps for event in writer.take(step)]:
                        yield events
            last = [*writer.finish(self.generation)]
            self.serving.remember(self, writer)
            yield last
        finally:
            await self.toolbox.aclose()
