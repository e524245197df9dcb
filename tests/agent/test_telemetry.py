"""Spans of runs, read back from the exporter of the OpenTelemetry SDK."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode
from scripted import Scripted

from harmony.agent import Agent, Limits, Run, SessionStore
from harmony.agent.telemetry import Telemetry
from harmony.errors import EngineError
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.tools.functions import function

THOUGHT = "<|channel|>analysis<|message|>I double it in secret.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"
PUBLIC = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}


class Exported(TracerProvider):
    """A provider whose spans are kept in memory."""

    def __init__(self) -> None:
        super().__init__(shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        self.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def tree(self) -> list[tuple[str, str | None]]:
        """The name of each span, and that of its parent."""
        names = {span.context.span_id: span.name for span in self.spans if span.context}
        return [(s.name, names[s.parent.span_id] if s.parent else None) for s in self.spans]

    def named(self, name: str) -> ReadableSpan:
        return next(span for span in self.spans if span.name == name)


@pytest.fixture
def exported() -> Iterator[Exported]:
    provider = Exported()
    yield provider
    provider.shutdown()


@function
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@function
def fails() -> None:
    """Never works."""
    raise RuntimeError("the secret file is missing")


class Failing(Scripted):
    """An engine that fails after a few tokens."""

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        async with contextlib.aclosing(super().generate(prompt, sampling, stop=stop)) as tokens:
            for _ in range(8):
                yield await anext(tokens)
        raise EngineError("the card fell off the bus")


def test_a_run_is_a_tree_of_spans(exported: Exported) -> None:
    """The run holds its turns and its calls, one after the other."""
    hooks = Telemetry(name="sums", provider=exported)
    Agent(Scripted(THOUGHT + CALL, FINAL), tools=[double], hooks=hooks).run_sync("What is twice 21?")
    assert exported.tree() == [
        ("invoke_agent sums", None),
        ("chat scripted", "invoke_agent sums"),
        ("execute_tool double", "invoke_agent sums"),
        ("chat scripted", "invoke_agent sums"),
    ]
    kinds = [span.kind for span in exported.spans]
    assert kinds == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.INTERNAL, SpanKind.CLIENT]
    assert {span.status.status_code for span in exported.spans} == {StatusCode.UNSET}


def test_what_spans_say(exported: Exported) -> None:
    """Operation, provider, model, sampling, usage and reasons, in the names of the conventions."""
    sampling = SamplingParams(temperature=0.5, top_p=0.9, top_k=40, seed=7)
    agent = Agent(
        Scripted(THOUGHT + CALL, FINAL),
        tools=[double],
        sampling=sampling,
        limits=Limits(tokens=500),
        hooks=Telemetry(provider=exported),
    )
    usage = agent.run_sync("What is twice 21?").usage
    run, first, tool, second = (dict(span.attributes or {}) for span in exported.spans)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gpt-oss-harmony",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.seed": 7,
        "gen_ai.request.max_tokens": 500,
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.output.type": "text",
    }.items() <= first.items()
    assert second["gen_ai.response.finish_reasons"] == ("stop",)
    assert tool == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.provider.name": "gpt-oss-harmony",
        "gen_ai.tool.name": "double",
        "gen_ai.tool.type": "function",
    }
    for name, total in (
        ("input_tokens", usage.prompt_tokens),
        ("output_tokens", usage.completion_tokens),
        ("reasoning.output_tokens", usage.reasoning_tokens),
    ):
        key = f"gen_ai.usage.{name}"
        assert run[key] == first[key] + second[key] == total  # type: ignore[operator]
    assert usage.reasoning_tokens > 0
    assert (run["harmony.stop_reason"], run["harmony.turns"]) == ("answer", 2)


@pytest.mark.parametrize("content", [False, True])
def test_content_is_recorded_only_when_asked_for(exported: Exported, content: bool) -> None:
    """Without it, nothing that was said is in any attribute, event or status."""
    agent = Agent(
        Scripted(THOUGHT + CALL, "<|channel|>commentary to=functions.fails<|message|>{}<|call|>", FINAL),
        tools=[double, fails],
        instructions="Be terse.",
        hooks=Telemetry(content=content, provider=exported),
    )
    agent.run_sync("What is twice 21?")
    written = "".join(span.to_json() for span in exported.spans)
    for said in ("in secret", "It is 42", "twice 21", "Be terse", "secret file", '\\"number\\": 21'):
        assert (said in written) is content


def test_content_has_the_shape_of_the_conventions(exported: Exported) -> None:
    """Messages with roles and parts; instructions apart; the answer with its reason."""
    hooks = Telemetry(content=True, provider=exported)
    agent = Agent(Scripted(THOUGHT + CALL, FINAL), tools=[double], instructions="Be terse.", hooks=hooks)
    agent.run_sync("What is twice 21?")
    run, first, tool, second = (dict(span.attributes or {}) for span in exported.spans)
    question = {"role": "user", "parts": [{"type": "text", "content": "What is twice 21?"}]}
    parts = [
        {"type": "reasoning", "content": "I double it in secret."},
        {"type": "tool_call", "name": "double", "arguments": {"number": 21}},
    ]
    answered = {"type": "tool_call_response", "name": "functions.double", "response": "42"}
    answer = {
        "role": "assistant",
        "parts": [{"type": "text", "content": "It is 42."}],
        "finish_reason": "stop",
    }
    said = [
        (run, "input", [question]),
        (first, "input", [question]),
        (first, "output", [{"role": "assistant", "parts": parts, "finish_reason": "tool_call"}]),
        (
            second,
            "input",
            [question, {"role": "assistant", "parts": parts}, {"role": "tool", "parts": [answered]}],
        ),
        (second, "output", [answer]),
        (run, "output", [answer]),
    ]
    for attributes, side, messages in said:
        assert json.loads(str(attributes[f"gen_ai.{side}.messages"])) == messages
    system, developer = json.loads(str(first["gen_ai.system_instructions"]))
    assert system["content"].startswith("You are ChatGPT")
    assert developer["content"].startswith("# Instructions\n\nBe terse.")
    assert (tool["gen_ai.tool.call.arguments"], tool["gen_ai.tool.call.result"]) == ('{"number": 21}', "42")


def test_every_name_is_one_of_the_conventions(exported: Exported) -> None:
    """All that begins with gen_ai. is listed by opentelemetry-semantic-conventions."""
    hooks = Telemetry(name="sums", content=True, provider=exported)
    Agent(Scripted(THOUGHT + CALL, FINAL), tools=[double], hooks=hooks).run_sync("What is twice 21?")
    used = {key for span in exported.spans for key in span.attributes or {} if key.startswith("gen_ai.")}
    assert used <= PUBLIC
    assert len(used) > 15


def test_an_engine_that_fails_is_an_error(exported: Exported) -> None:
    """Its turn and the run say which error it was, and what was sampled by then."""
    agent = Agent(Failing(FINAL * 5), hooks=Telemetry(content=True, provider=exported))
    with pytest.raises(EngineError):
        agent.run_sync("What is twice 21?")
    for span in exported.spans:
        assert (span.status.status_code, span.status.description) == (
            StatusCode.ERROR,
            "the card fell off the bus",
        )
        assert (span.attributes or {})["error.type"] == "EngineError"
    chat = exported.named("chat scripted").attributes or {}
    assert chat["gen_ai.usage.output_tokens"] == 8
    assert chat["gen_ai.response.finish_reasons"] == ("error",)


def test_a_tool_that_fails_is_an_error_of_its_span_alone(exported: Exported) -> None:
    """The model reads it and the run goes on."""
    engine = Scripted("<|channel|>commentary to=functions.fails<|message|>{}<|call|>", FINAL)
    Agent(engine, tools=[fails], hooks=Telemetry(provider=exported)).run_sync("Go on.")
    failed = [span.name for span in exported.spans if span.status.status_code is StatusCode.ERROR]
    assert failed == ["execute_tool fails"]


@pytest.mark.parametrize(
    ("limits", "turn", "reason"),
    [
        (Limits(tokens=5), "length", "max_tokens"),
        (Limits(turns=1), "tool_call", "max_turns"),
        (Limits(tool_calls=0), "tool_call", "max_tool_calls"),
    ],
)
def test_why_a_run_ended(exported: Exported, limits: Limits, turn: str, reason: str) -> None:
    """The turn has a reason of the conventions, the run ours."""
    hooks = Telemetry(provider=exported)
    Agent(Scripted(THOUGHT + CALL), tools=[double], limits=limits, hooks=hooks).run_sync("Twice 21?")
    assert (exported.named("chat scripted").attributes or {})["gen_ai.response.finish_reasons"] == (turn,)
    assert (exported.named("invoke_agent").attributes or {})["harmony.stop_reason"] == reason


def test_the_reader_that_leaves_ends_the_spans(exported: Exported) -> None:
    """A run that is closed early is no error."""

    async def leave() -> None:
        run = Agent(Scripted(THOUGHT + CALL), tools=[double], hooks=Telemetry(provider=exported)).stream("?")
        await anext(aiter(run))
        await run.aclose()

    asyncio.run(leave())
    assert exported.tree() == [("invoke_agent", None), ("chat scripted", "invoke_agent")]
    assert {span.status.status_code for span in exported.spans} == {StatusCode.UNSET}


def test_a_cancelled_run_is_an_error(exported: Exported) -> None:
    """A task that is cancelled in a tool ends all spans that were open, with that error."""

    @function
    async def waits() -> None:
        """Waits for ever."""
        await asyncio.Event().wait()

    async def cancel() -> None:
        engine = Scripted("<|channel|>commentary to=functions.waits<|message|>{}<|call|>")
        agent = Agent(engine, tools=[waits], hooks=Telemetry(provider=exported))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await agent.run("Wait.")

    asyncio.run(cancel())
    failed = {s.name: (s.attributes or {}).get("error.type") for s in exported.spans}
    assert failed == {
        "invoke_agent": "CancelledError",
        "chat scripted": None,
        "execute_tool waits": "CancelledError",
    }


def test_spans_of_a_tool_lie_under_its_call(exported: Exported) -> None:
    """Those of its own code, and the whole run of an agent that it is."""
    tracer = trace.get_tracer("mine", tracer_provider=exported)

    @function
    async def double(number: int) -> int:
        """Twice a number."""
        with tracer.start_as_current_span("looking it up"):
            return 2 * number

    inner = Agent(Scripted(CALL, FINAL), tools=[double], hooks=Telemetry(name="inner", provider=exported))
    ask = '<|channel|>commentary to=functions.doubler<|message|>{"task": "Twice 21?"}<|call|>'
    outer = Agent(
        Scripted(ask, FINAL),
        tools=[inner.as_tool("doubler", "Doubles.")],
        hooks=Telemetry(name="outer", provider=exported),
    )
    with tracer.start_as_current_span("request"):
        outer.run_sync("What is twice 21?")
    assert exported.tree() == [
        ("request", None),
        ("invoke_agent outer", "request"),
        ("chat scripted", "invoke_agent outer"),
        ("execute_tool doubler", "invoke_agent outer"),
        ("invoke_agent inner", "execute_tool doubler"),
        ("chat scripted", "invoke_agent inner"),
        ("execute_tool double", "invoke_agent inner"),
        ("looking it up", "execute_tool double"),
        ("chat scripted", "invoke_agent inner"),
        ("chat scripted", "invoke_agent outer"),
    ]


def test_spans_of_an_engine_lie_under_its_turn(exported: Exported) -> None:
    """Such as those of an HTTP client."""
    tracer = trace.get_tracer("mine", tracer_provider=exported)

    class Traced(Scripted):
        def generate(self, *args: Any, **options: Any) -> AsyncGenerator[GeneratedToken]:
            tracer.start_span("POST").end()
            return super().generate(*args, **options)

    Agent(Traced(FINAL), hooks=Telemetry(provider=exported)).run_sync("?")
    assert ("POST", "chat scripted") in exported.tree()


def test_the_reader_of_events_keeps_its_own_span(exported: Exported) -> None:
    """No span of the run is the current one between two events, nor after it."""
    tracer = trace.get_tracer("mine", tracer_provider=exported)

    async def read() -> None:
        agent = Agent(Scripted(THOUGHT + CALL, FINAL), tools=[double], hooks=Telemetry(provider=exported))
        with tracer.start_as_current_span("reader") as reader:
            async for _ in agent.stream("What is twice 21?"):
                assert trace.get_current_span() is reader
            assert trace.get_current_span() is reader

    asyncio.run(read())


def test_runs_at_once_keep_apart(exported: Exported) -> None:
    """Each run of one agent has a trace of its own."""

    async def run() -> None:
        agents = [
            Agent(Scripted(THOUGHT + CALL, FINAL), tools=[double], hooks=hooks)
            for hooks in [Telemetry(provider=exported)] * 20
        ]
        await asyncio.gather(*(agent.run("What is twice 21?") for agent in agents))

    asyncio.run(run())
    traces = [span.context.trace_id for span in exported.spans if span.context]
    assert sorted(traces.count(each) for each in set(traces)) == [4] * 20


def test_a_session_is_the_conversation(exported: Exported) -> None:
    """Runs of one session say its id."""
    session = SessionStore(":memory:").session("trip")
    Agent(Scripted(FINAL), hooks=Telemetry(provider=exported)).run_sync("?", session=session)
    assert (exported.named("invoke_agent").attributes or {})["gen_ai.conversation.id"] == "trip"


def test_a_call_that_waits_for_approval_ends_its_span(exported: Exported) -> None:
    """It did not run, and says so."""
    agent = Agent(
        Scripted(CALL),
        tools=[double],
        approve=lambda name, arguments: "later",
        hooks=Telemetry(provider=exported),
    )
    agent.run_sync("?", session=SessionStore(":memory:").session("s"))
    assert [event.name for event in exported.named("execute_tool double").events] == ["approval requested"]


@pytest.mark.parametrize("arguments", ["[" * 5000, '{"number": 2', "\\ud800", "NaN"])
def test_arguments_that_are_no_json_stay_text(exported: Exported, arguments: str) -> None:
    """Nothing that a model writes breaks its span."""
    call = f"<|channel|>commentary to=functions.double<|message|>{arguments}<|call|>"
    hooks = Telemetry(content=True, provider=exported)
    Agent(Scripted(call, FINAL), tools=[double], hooks=hooks).run_sync("?")
    output = (exported.spans[1].attributes or {})["gen_ai.output.messages"]
    assert json.loads(str(output))[0]["parts"][0]["arguments"] == arguments


def test_hooks_of_ones_own_derive_from_it(exported: Exported) -> None:
    """A method that lets its base run traces as before."""

    class Cold(Telemetry):
        async def before_model(self, run: Run[Any], sampling: SamplingParams) -> SamplingParams:
            return await super().before_model(run, SamplingParams(temperature=0.25))

    Agent(Scripted(FINAL), hooks=Cold(provider=exported)).run_sync("?")
    chat = exported.named("chat scripted").attributes or {}
    assert chat["gen_ai.request.temperature"] == 0.25


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_agent_loads_no_telemetry() -> None:
    """It is imported by whoever wants it alone."""
    assert not [name for name in modules_after("import harmony.agent") if name.startswith("opentelemetry")]


def test_only_the_api_is_needed() -> None:
    """The SDK is the application's; without the API, the error says what to install."""
    loaded = modules_after("import harmony.agent.telemetry")
    assert "opentelemetry.trace" in loaded
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]
    program = "import sys; sys.modules['opentelemetry'] = None; import harmony.agent.telemetry"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("pip install 'gpt-oss-harmony[otel]'")
