"""The loop: the model speaks, the tool that it calls answers, until it has answered or a limit is met."""

import asyncio
import datetime
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from harmony import (
    Author,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    load_encoding,
)
from harmony.agent.completion import Call, Completion
from harmony.agent.events import Event, ToolCalled, ToolReturned
from harmony.agent.routing import Answer, Toolbox
from harmony.agent.run import Limits, Run, RunResult
from harmony.errors import ContextLengthError
from harmony.runtime.generation import SamplingParams, TokenEngine
from harmony.runtime.models import load_engine
from harmony.tools.tool import Tool
from harmony.transcript import Transcript


class Agent:
    """A model with tools.

    `model` is "tiny" (bundled), a folder with a checkpoint, a hub name such as openai/gpt-oss-20b, the
    URL of a server that takes token ids, or an engine; it is loaded at the first run. `sampling` None
    takes the model's own defaults.

    >>> agent = Agent(tools=[Python()])
    >>> agent.run_sync("What is 48 * 37?").text
    '48 * 37 = 1776'
    """

    def __init__(
        self,
        model: str | TokenEngine = "tiny",
        *,
        tools: Sequence[Tool] = (),
        instructions: str | None = None,
        reasoning: ReasoningEffort | str = ReasoningEffort.MEDIUM,
        sampling: SamplingParams | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._model = model
        self._toolbox = Toolbox(tools)
        self._instructions = instructions
        self._reasoning = ReasoningEffort(reasoning.capitalize())
        self._sampling = sampling
        self._limits = limits or Limits()
        self._encoding = load_encoding()
        self._engine: TokenEngine | None = None

    async def run(self, prompt: str, *, transcript: Transcript | None = None) -> RunResult:
        """Answer `prompt`, going on with `transcript` (of an earlier result) when it is given.

        Raises ModelError when the model cannot be loaded, ContextLengthError when the prompt leaves no
        room for an answer, EngineError when the engine fails, SandboxUnavailableError when python is
        called where nothing can confine it. What else goes wrong in a tool is told to the model.
        """
        run = self.stream(prompt, transcript=transcript)
        async for _ in run:
            pass
        return run.result

    def run_sync(self, prompt: str, *, transcript: Transcript | None = None) -> RunResult:
        """`run` for programs without an event loop; the tools' processes end with it."""

        async def run_once() -> RunResult:
            try:
                return await self.run(prompt, transcript=transcript)
            finally:
                await self._toolbox.aclose()

        return asyncio.run(run_once())

    def stream(self, prompt: str, *, transcript: Transcript | None = None) -> Run:
        """A run whose events are read one by one, from the first token; errors are those of `run`."""
        transcript = self._new_transcript() if transcript is None else transcript.copy()
        transcript.append(Message.from_role_and_content(Role.USER, prompt))
        return Run(self._step, transcript, self._limits)

    async def load(self) -> TokenEngine:
        """The engine, loaded if it was not yet. Raises ModelError."""
        if self._engine is None:
            model = self._model
            self._engine = await asyncio.to_thread(load_engine, model) if isinstance(model, str) else model
            self._toolbox.fit(self._engine.context_length)
        return self._engine

    async def aclose(self) -> None:
        """End the tools' processes and release the model."""
        await self._toolbox.aclose()
        if self._engine is not None:
            await self._engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _step(self, run: Run) -> AsyncGenerator[Event]:
        """One turn of the model, and the tool that it calls."""
        engine = await self.load()
        sampling = run.within_limits(self._sampling or engine.default_sampling)
        completion = Completion(self._encoding, engine, run.transcript.prompt, sampling)
        try:
            async with aclosing(completion.events(run.seconds_left)) as events:
                async for event in events:
                    yield event
        except ContextLengthError:
            if run.turns == 0:
                raise
            completion.finish = "context"
        finally:
            run.add(completion)
            run.citations = self._toolbox.citations(run.text)
        if run.stop_reason is None and completion.call is not None:
            yield ToolCalled(tool=completion.call.recipient, arguments=completion.call.arguments)
            yield await self._answer(run, completion.call, engine)

    async def _answer(self, run: Run, call: Call, engine: TokenEngine) -> ToolReturned:
        """Let the tool answer, within the run's time, and tell the model."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(run.seconds_left()):
                answer = await self._toolbox.call(call.recipient, call.arguments)
        except TimeoutError:
            run.stop_reason = "timeout"
            answer = Answer(call.recipient, "Error: the time for this run is up.", error=True)
        seconds = time.monotonic() - start
        text = self._cut(answer.text, min(run.limits.tool_output_tokens, engine.context_length // 4))
        message = Message.from_author_and_content(Author.new(Role.TOOL, answer.author), text)
        run.transcript.append(message.with_channel(call.channel).with_recipient("assistant"))
        return ToolReturned(tool=answer.author, output=text, error=answer.error, seconds=seconds)

    def _cut(self, text: str, most: int) -> str:
        tokens = self._encoding.encode(text, disallowed_special=())
        if len(tokens) <= most:
            return text
        head, tail = tokens[: most // 2], tokens[-(most // 2) :]
        dropped = len(tokens) - len(head) - len(tail)
        return (
            f"{self._encoding.decode(head)}\n[… {dropped} tokens left out …]\n{self._encoding.decode(tail)}"
        )

    def _new_transcript(self) -> Transcript:
        transcript = Transcript(self._encoding)
        system = SystemContent.new().with_reasoning_effort(self._reasoning)
        system = system.with_conversation_start_date(datetime.date.today().isoformat())
        for tool in self._toolbox.builtin.values():
            system = system.with_tools(tool.namespace)
        messages = [Message.from_role_and_content(Role.SYSTEM, system)]
        functions = [tool.description for tool in self._toolbox.functions.values()]
        if self._instructions or functions:
            developer = DeveloperContent.new()
            if self._instructions:
                developer = developer.with_instructions(self._instructions)
            if functions:
                developer = developer.with_function_tools(functions)
            messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
        transcript.append(*messages)
        return transcript
