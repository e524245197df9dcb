"""Calls as models really write them, through the real loop: each is routed or answered, and none raises."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted

from harmony import ToolNamespaceConfig, load_encoding
from harmony.agent import Agent, RunResult, ToolReturned
from harmony.errors import ToolError
from harmony.tools import Tool, function

ENCODING = load_encoding()
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"
JSON = '<|message|>{"number": 21}<|call|>'
CODE = "<|message|>6 * 7<|call|>"


@function
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


class Notebook:
    """A built-in tool that says what it was asked."""

    namespace = ToolNamespaceConfig.python()

    async def call(self, function: str | None, arguments: str) -> str:
        return f"{function}: {arguments}"

    async def aclose(self) -> None:
        """Nothing is held."""


def run(*turns: str, tools: Sequence[Tool] = (double, Notebook())) -> tuple[list[ToolReturned], RunResult]:
    """What the tools answered in a run that samples these turns and then an answer, and its result."""

    async def collect() -> tuple[list[ToolReturned], RunResult]:
        run = Agent(Scripted(*turns, FINAL, FINAL), tools=tools).stream("Go.")
        events = [event async for event in run]
        return [event for event in events if isinstance(event, ToolReturned)], run.result

    return asyncio.run(collect())


@pytest.mark.parametrize(
    "call",
    [
        f"<|channel|>commentary to=double{JSON}",
        f"<|channel|>commentary to=functions.functions.double json{JSON}",
        f"<|channel|>analysis to=functions.double code{JSON}",
        f"<|channel|>final to=functions.double json{JSON}",
        f"<|channel|>tool_calls to=functions.double <|constrain|>json{JSON}",
        f" to=functions.double<|channel|>commentary json{JSON}",
        f" to=functions.double<|channel|>analysis{JSON}",
        f" to=functions.double{JSON}",
        f"<|channel|>to=functions.double{JSON}",
        f"<|channel|>commentary to=functions.double<|constrain|>json{JSON}",
        f"<|channel|>commentary to=functions.double to=functions.double json{JSON}",
        f"<|channel|>commentary to=functions.double<|channel|>commentary json{JSON}",
        f"<|channel|>commentary to=functions.double<|reserved_200000|><|constrain|>json{JSON}",
        f"<|channel|>commentary<|constrain|> to=functions.double json{JSON}",
        f"<|channel|>commentary<|end|> to=functions.double json{JSON}",
        '<|channel|>commentary to=functions.double json<|message|>{"number": 21}<|return|>',
        '<|channel|>commentary to=functions.double <|constrain|>json{"number": 21}<|call|>',
        '<|channel|>commentary to=functions.double json<|message|> \n{"number": 21}\n\n<|call|>',
    ],
)
def test_a_function_is_reached(call: str) -> None:
    """Prefix, channel, order of the header, junk in it, and the stop token do not matter."""
    answers, result = run(call)
    assert [(answer.tool, answer.output) for answer in answers] == [("functions.double", "42")]
    assert (result.text, result.stop_reason) == ("It is 42.", "answer")


@pytest.mark.parametrize(
    ("call", "author", "output"),
    [
        (f"<|channel|>analysis to=python code{CODE}", "python", "None: 6 * 7"),
        (f"<|channel|>commentary to=python{CODE}", "python", "None: 6 * 7"),
        (f" to=python<|channel|>analysis{CODE}", "python", "None: 6 * 7"),
        (f"<|channel|>commentary to=functions.python json{CODE}", "python", "None: 6 * 7"),
        (f"<|channel|>analysis to=python.exec code{CODE}", "python.exec", "exec: 6 * 7"),
        ("<|channel|>analysis to=python code<|message|>6 * 7<|return|>", "python", "None: 6 * 7"),
    ],
)
def test_a_trained_tool_is_reached(call: str, author: str, output: str) -> None:
    """A built-in tool answers on every channel, under its own name."""
    answers, _ = run(call)
    assert [(answer.tool, answer.output) for answer in answers] == [(author, output)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (f"<|channel|>commentary to=container.exec json{JSON}", "There is no tool 'container.exec'"),
        (f"<|channel|>commentary to=multi_tool_use.parallel{JSON}", "There is no tool"),
        (f"<|channel|>commentary to=functions.doublejson{JSON}", "functions.double"),
        (f"<|channel|>commentary to=functions.{JSON}", "There is no tool"),
        (f"<|channel|>commentary to= double{JSON}", "There is no tool"),
        ('<|channel|>commentary to=functions.double<|message|>{"number": 2<|call|>', "cut short"),
        ('<|channel|>commentary to=functions.double<|message|>```json\n{"number": 2}```<|call|>', "not JSON"),
        ("<|channel|>commentary to=functions.double<|message|>21<|call|>", "must be a JSON object"),
        ("<|channel|>commentary to=functions.double<|message|><|call|>", "number is missing"),
    ],
)
def test_what_cannot_run_is_answered(call: str, says: str) -> None:
    """An unknown tool and arguments that do not fit are told to the model, which goes on."""
    (answer,), result = run(call)
    assert answer.error
    assert says in answer.output
    assert result.text == "It is 42."


@pytest.mark.parametrize(
    "call",
    [
        "<|channel|>commentary<|message|>{}<|call|>",
        f"<|channel|>commentary to=assistant{JSON}",
        f"<|channel|>commentary to=functions.<|end|>double{JSON}",
        "<|call|>",
    ],
)
def test_a_call_of_nothing_is_no_call(call: str) -> None:
    """A call without a recipient runs nothing, and the model is asked again."""
    answers, result = run(call)
    assert answers == []
    assert result.text == "It is 42."


@pytest.mark.parametrize(
    "recipient",
    ["evil<|reserved_200000|>", "evil<|refusal|>x", "dôuble\u202e【†】", "a" * 5000, "x<|e", "\\"],
)
def test_an_odd_recipient_stays_text(recipient: str) -> None:
    """The answer to a tool that is none has the special tokens of any answer, whatever its name holds."""
    engine = Scripted(f"<|channel|>commentary to={recipient}{JSON}", FINAL)
    asyncio.run(Agent(engine, tools=[double]).run("Go."))
    answer = engine.prompts[1][len(engine.prompts[0]) :]
    answer = answer[answer.index(200_012) + 1 :]
    special = [ENCODING.decode([token]) for token in answer if token >= 199_998]
    assert special == ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|start|>"]


PIECES = st.sampled_from(
    [
        *("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|call|>", "<|return|>"),
        *("commentary", "analysis", "final", "assistant", " to=", "functions.", "double", "python", "json"),
        *(' {"number": 21}', '{"number":', " ", "<|reserved_200000|>", "code", ".", "é", "\n"),
    ]
)


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_no_header_ends_a_run_with_an_exception(turn: str) -> None:
    """Whatever a turn is made of, the run ends with a result."""

    async def go() -> RunResult:
        return await Agent(Scripted(turn + "<|call|>", FINAL, FINAL), tools=[double, Notebook()]).run("Go.")

    assert asyncio.run(go()).stop_reason == "answer"


def test_tools_that_cannot_stand_side_by_side() -> None:
    """Two of one name, and what is no tool at all, are told when the agent is made."""
    with pytest.raises(ToolError, match="Two tools are named double, python;"):
        Agent(Scripted(), tools=[double, double, Notebook(), Notebook()])
    with pytest.raises(ToolError, match=r"is not a tool; harmony\.tools\.function makes a function one"):
        Agent(Scripted(), tools=[len])  # type: ignore[list-item]


@pytest.mark.parametrize("later", [False, True])
def test_a_refused_call_does_not_run(later: bool) -> None:
    """`approve` sees the tool and its arguments; the model hears of the refusal, and the run goes on."""
    asked, ran = [], []

    @function
    def delete(path: str) -> str:
        """Delete a file."""
        ran.append(path)
        return "gone"

    def approve(tool: str, arguments: str) -> bool:
        asked.append((tool, arguments))
        return "tmp" in arguments

    async def approve_later(tool: str, arguments: str) -> bool:
        return approve(tool, arguments)

    calls = [
        f'<|channel|>commentary to=functions.delete<|message|>{{"path": "{p}"}}<|call|>'
        for p in ("/etc", "tmp")
    ]

    async def go() -> list[ToolReturned]:
        run = Agent(
            Scripted(*calls, FINAL), tools=[delete], approve=approve_later if later else approve
        ).stream("Go.")
        return [event async for event in run if isinstance(event, ToolReturned)]

    refused, allowed = asyncio.run(go())
    assert refused.error
    assert "The user refused this call of functions.delete" in refused.output
    assert allowed.output == "gone"
    assert asked == [("functions.delete", '{"path": "/etc"}'), ("functions.delete", '{"path": "tmp"}')]
    assert ran == ["tmp"]
