"""The loop: the model speaks, the tool that it calls answers, until it has answered or a limit is met."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from harmony import ReasoningEffort, load_encoding
from harmony.agent.agent_tool import AgentTool
from harmony.agent.calls import Call, fitted
from harmony.agent.completion import Completion
from harmony.agent.enforcement import Enforcer
from harmony.agent.events import ApprovalRequested, Event, Flagged, ReasoningDelta, ToolCalled, ToolReturned
from harmony.agent.hooks import Hooks, ReasoningMonitor
from harmony.agent.opening import Opening
from harmony.agent.output import TEXT, Format, output_of
from harmony.agent.retries import NO_RETRIES, Retries
from harmony.agent.routing import Answer, Toolbox
from harmony.agent.run import Limits, Run, RunOptions, RunResult
from harmony.agent.session import Session
from harmony.agent.trace import TraceFile
from harmony.errors import ApprovalNeededError, ContextLengthError, ToolError
from harmony.runtime.generation import SamplingParams, TokenEngine
from harmony.runtime.models import load_engine
from harmony.tools.approval import Approve, approved, refusal
from harmony.tools.tool import Tool
from harmony.transcript import Transcript

T = TypeVar("T")


class Agent:
    """A model with tools.

    `model` is "tiny" (bundled), a folder with a checkpoint, a hub name such as openai/gpt-oss-20b, the
    URL of a server that takes token ids, or an engine; it is loaded at the first run. `sampling` None
    takes the model's own defaults. `limits` end a run; `retries` says when a turn whose engine failed is
    asked for again. `approve` is asked before every call of a tool, with its name and the arguments as
    sampled; what it refuses does not run, and the model is told so; "later" ends the run until its session
    has a decision. `hooks` stand before and after model and tools; `monitor` makes, for each run, what reads
    its reasoning and can flag or stop it. Turns keep to the harmony format and to the schemas of the tools
    where the engine can enforce them; `strict` makes it an error when it cannot. `trace` is a file to which
    every run is added, token for token (harmony.agent.trace).

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
        retries: Retries = NO_RETRIES,
        approve: Approve | None = None,
        hooks: Hooks | None = None,
        monitor: Callable[[], ReasoningMonitor] | None = None,
        strict: bool = False,
        trace: str | Path | None = None,
    ) -> None:
        self._model = model
        self._toolbox = Toolbox(tools, approve)
        self._opening = Opening(self._toolbox, ReasoningEffort(reasoning.capitalize()), instructions)
        self._sampling = sampling
        self._limits = limits or Limits()
        self._retries = retries
        self._hooks = hooks or Hooks()
        self._monitor = monitor
        self._trace = None if trace is None else TraceFile(trace)
        self._enforcer = Enforcer(self._toolbox, strict=strict)
        self._encoding = load_encoding()
        self._engine: TokenEngine | None = None

    @overload
    async def run(self, prompt: str | None, **options: Unpack[RunOptions]) -> RunResult[str]: ...
    @overload
    async def run(
        self, prompt: str | None, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    async def run(
        self, prompt: str | None, *, output_type: Format, **options: Unpack[RunOptions]
    ) -> RunResult[object]: ...
    async def run(
        self,
        prompt: str | None,
        *,
        output_type: type[object] | Format | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]:
        """Answer `prompt`; `RunOptions` says what else a run takes.

        Without a prompt, a session or transcript goes on where it stands: a call at its end is let to its
        tool, anything else is continued by the model. Raises ValueError when there is neither.

        With an `output_type` the answer is a value of it, `result.output`: the model is told its schema and
        cannot write anything else. It is a type that pydantic knows, a JSON schema, or another format:
        Regex, Choices, Lark.

        Raises ModelError when the model cannot be loaded, ContextLengthError when the prompt leaves no room
        for an answer, EngineError when the engine fails, GrammarError when what was asked for cannot be
        enforced, ConstraintError when it cannot be kept, SessionError when the session cannot be saved,
        SandboxUnavailableError when python is called where nothing can confine it. What else goes wrong in
        a tool is told to the model. What had been said by then is in the session.
        """
        run = self._run(prompt, output_type, is_read=False, **options)
        async for _ in run:
            pass
        return run.result

    @overload
    def run_sync(self, prompt: str | None, **options: Unpack[RunOptions]) -> RunResult[str]: ...
    @overload
    def run_sync(
        self, prompt: str | None, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> RunResult[T]: ...
    @overload
    def run_sync(
        self, prompt: str | None, *, output_type: Format, **options: Unpack[RunOptions]
    ) -> RunResult[object]: ...
    def run_sync(
        self,
        prompt: str | None,
        *,
        output_type: type[object] | Format | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]:
        """`run` for programs without an event loop; the tools' processes end with it.

        Raises RuntimeError where one runs already, as in a notebook.
        """

        async def run_once() -> RunResult[Any]:
            run = self._run(prompt, output_type, is_read=False, **options)
            try:
                async for _ in run:
                    pass
                return run.result
            finally:
                await self.close_tools()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run_once())
        raise RuntimeError("an event loop runs here, as in every notebook: `await agent.run(...)` instead")

    @overload
    def stream(self, prompt: str | None, **options: Unpack[RunOptions]) -> Run[str]: ...
    @overload
    def stream(
        self, prompt: str | None, *, output_type: type[T], **options: Unpack[RunOptions]
    ) -> Run[T]: ...
    @overload
    def stream(
        self, prompt: str | None, *, output_type: Format, **options: Unpack[RunOptions]
    ) -> Run[object]: ...
    def stream(
        self,
        prompt: str | None,
        *,
        output_type: type[object] | Format | None = None,
        **options: Unpack[RunOptions],
    ) -> Run[Any]:
        """A run whose events are read one by one, from the first token; errors are those of `run`."""
        return self._run(prompt, output_type, **options)

    async def load(self) -> TokenEngine:
        """The engine, loaded if it was not yet. Raises ModelError."""
        if self._engine is None:
            model = self._model
            self._engine = await asyncio.to_thread(load_engine, model) if isinstance(model, str) else model
            self._toolbox.fit(self._engine.context_length)
        return self._engine

    def as_tool(
        self, name: str, description: str, *, output_type: type[object] | Format | None = None
    ) -> AgentTool:
        """This agent as a function that another agent can call; the description tells its model when.

        With an `output_type` the answers are JSON of it. Raises ToolError for a name that is none.

        >>> chef = Agent(instructions="You are a chef.").as_tool("chef", "Knows recipes.")
        >>> Agent(tools=[chef]).run_sync("What can I cook with leeks?").text
        """
        return AgentTool(self, name, description, output_type)

    async def close_tools(self) -> None:
        """End the tools' processes; they begin again when they are called."""
        await self._toolbox.aclose()

    async def aclose(self) -> None:
        """End the tools' processes and release the model."""
        await self.close_tools()
        if self._engine is not None:
            await self._engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _run(
        self,
        prompt: str | None,
        output_type: type[object] | Format | None,
        *,
        transcript: Transcript | None = None,
        session: Session | None = None,
        tool_choice: str = "auto",
        is_read: bool = True,
    ) -> Run[Any]:
        asked = TEXT if output_type is None else output_of(output_type)
        section = None if asked.format is None else asked.format.section
        if session is not None:
            if transcript is not None:
                raise ValueError("a run goes on with a transcript or with a session, not with both")
            transcript = session.transcript
        if transcript is not None:
            self._toolbox.pass_over(transcript.said)
        transcript = self._opening.conversation(prompt, transcript, section)
        monitor = None if self._monitor is None else self._monitor()
        trace = None if self._trace is None else self._trace.begin(transcript, self._limits)
        return Run(
            self._step,
            transcript,
            self._limits,
            asked,
            tool_choice,
            session,
            monitor,
            trace,
            self._hooks,
            is_read=is_read,
        )

    async def _step(self, run: Run[T]) -> AsyncGenerator[Event]:
        """One turn of the model, or, when a call is open, of the tool."""
        engine = await self.load()
        run.model = engine.name
        if run.call is not None:
            yield ToolCalled(tool=run.call.recipient, arguments=run.call.arguments)
            yield await self._answer(run, run.call, engine)
            return
        sampling = await self._hooks.before_model(run, self._sampling or engine.default_sampling)
        if run.stop_reason is not None:
            return
        if run.trace is not None:
            engine = run.trace.recorded(engine)
        sampling = run.within_limits(sampling)
        enforced = self._enforcer.enforcement(engine, run)
        completion = Completion(
            self._encoding,
            engine,
            run.transcript.prompt,
            sampling,
            enforced,
            self._retries,
            is_told=run.is_told,
        )
        try:
            async with aclosing(completion.events(run.seconds_left)) as events:
                async for event in events:
                    finding = run.judge(event.text) if isinstance(event, ReasoningDelta) else None
                    yield event
                    if finding is not None:
                        yield Flagged(reason=finding.reason, stop=finding.stop)
                        if finding.stop:
                            completion.finish = "monitor"
                            break
        except ContextLengthError:
            if run.turns == 0:
                raise
            completion.finish = "context"
        finally:
            run.add(completion)
            run.citations = self._toolbox.citations(run.text)
        await self._hooks.after_model(run)

    async def _answer(self, run: Run[T], call: Call, engine: TokenEngine) -> ToolReturned | ApprovalRequested:
        """Let the tool answer, within the run's time, and tell the model; or leave the call open."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(run.seconds_left()):
                with run.calling():
                    answer = await self._called(run, call)
        except ApprovalNeededError:
            run.stop("approval")
            return ApprovalRequested(tool=call.recipient, arguments=call.arguments)
        except TimeoutError:
            run.stop("timeout")
            answer = Answer(call.recipient, "Error: the time for this run is up.", error=True)
        seconds = time.monotonic() - start
        most = run.limits.tool_output_tokens
        text = fitted(self._encoding, answer.text, most, engine.context_length)
        run.answer(call.answered(answer.author, text))
        return ToolReturned(tool=answer.author, output=text, error=answer.error, seconds=seconds)

    async def _called(self, run: Run[T], call: Call) -> Answer:
        """What the tool answers, between the hooks."""
        tool, decision = self._toolbox.author(call.recipient), run.decision
        try:
            if decision is not None and not decision.approved:
                raise ToolError(refusal(tool, decision.reason))
            call = await self._hooks.before_tool(run, call)
        except ToolError as error:
            return Answer(tool, f"Error: {error}", error=True)
        with approved(self._toolbox.author(call.recipient), call.arguments, already=decision is not None):
            answer = await self._toolbox.call(call.recipient, call.arguments)
        return await self._hooks.after_tool(run, call, answer)
