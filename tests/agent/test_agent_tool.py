"""An agent as another agent's tool: what it is asked, what comes back, who pays."""

import asyncio

import pytest
from scripted import Scripted

from harmony import ToolNamespaceConfig, load_encoding
from harmony.agent import Agent, Limits, RunResult, ToolReturned
from harmony.errors import SandboxUnavailableError, ToolError
from harmony.tools.functions import function

ENCODING = load_encoding()
CALL = '<|channel|>commentary to=functions.chef <|constrain|>json<|message|>{"task": "Cook leeks."}<|call|>'
FINAL = "<|channel|>final<|message|>Soup it is.<|return|>"
SOUP = "<|channel|>final<|message|>Soup.<|return|>"
RECIPE = f"<|channel|>analysis<|message|>Secretly, soup.<|end|><|start|>assistant{SOUP}"


def run(chef: Agent, *turns: str, **options: object) -> tuple[list[ToolReturned], RunResult[str], Scripted]:
    """What the tools of the calling agent returned, its result and its engine."""
    engine = Scripted(*turns)

    async def go() -> tuple[list[ToolReturned], RunResult[str]]:
        tools = [chef.as_tool("chef", "Knows recipes.")]
        run = Agent(engine, tools=tools, **options).stream("What can I eat?")  # type: ignore[arg-type]
        returned = [event async for event in run if isinstance(event, ToolReturned)]
        return returned, run.result

    return *asyncio.run(go()), engine


def test_an_agent_answers_a_call() -> None:
    """It gets the task in a conversation of its own, and its answer goes back without its reasoning."""
    inner = Scripted(RECIPE)
    (returned,), result, outer = run(Agent(inner, instructions="You are a chef."), CALL, FINAL)
    assert (returned.output, returned.error, result.text) == ("Soup.", False, "Soup it is.")
    asked = ENCODING.decode(inner.prompts[0])
    assert "You are a chef." in asked
    assert asked.endswith("<|start|>user<|message|>Cook leeks.<|end|><|start|>assistant")
    assert "Secretly" not in ENCODING.decode(outer.prompts[1])
    assert "// Knows recipes.\ntype chef = (_: {\n// What to do" in ENCODING.decode(outer.prompts[0])


def test_what_it_spends_is_counted() -> None:
    """The usage of a run is that of its own turns and of the runs in its tools, however deep."""
    cook = Agent(Scripted(RECIPE)).as_tool("chef", "Cooks.")
    middle = Scripted(CALL, FINAL)
    _, result, outer = run(Agent(middle, tools=[cook]), CALL, FINAL)
    tokens = [
        len(ENCODING.encode(turn, allowed_special="all")) for turn in (RECIPE, CALL, FINAL, CALL, FINAL)
    ]
    assert result.usage.completion_tokens == sum(tokens)
    assert result.usage.reasoning_tokens > 0
    prompts = sum(map(len, [*middle.prompts, *outer.prompts]))
    assert result.usage.prompt_tokens > prompts


def test_a_run_in_a_thread_of_a_tool_is_counted_too() -> None:
    """A function that runs an agent by itself is on the account of the run that called it."""
    inner = Agent(Scripted(RECIPE))

    @function
    def chef(task: str) -> str:
        """Cooks."""
        return inner.run_sync(task).text

    alone = Agent(Scripted(RECIPE)).run_sync("Cook leeks.")
    engine = Scripted(CALL, FINAL)
    result = Agent(engine, tools=[chef]).run_sync("What can I eat?")
    own = sum(len(ENCODING.encode(turn, allowed_special="all")) for turn in (CALL, FINAL))
    assert result.usage.completion_tokens == own + alone.usage.completion_tokens


def test_runs_beside_each_other_are_counted_apart() -> None:
    """Two runs at once each pay for their own."""

    async def both() -> list[int]:
        results = await asyncio.gather(*(agent.run("What can I eat?") for agent in agents))
        return [result.usage.completion_tokens for result in results]

    agents = [
        Agent(Scripted(CALL, FINAL), tools=[Agent(Scripted(RECIPE)).as_tool("chef", "Cooks.")])
        for _ in range(2)
    ]
    one, other = asyncio.run(both())
    assert one == other


def test_the_limits_of_the_caller_hold() -> None:
    """Its tokens end the run in the tool, and then its own; its time does too."""
    own = len(ENCODING.encode(CALL, allowed_special="all"))
    limits = Limits(tokens=own + 3)
    (returned,), result, _ = run(Agent(Scripted(RECIPE)), CALL, FINAL, limits=limits)
    assert returned.error
    assert "chef was stopped before it had answered (max_tokens)" in returned.output
    assert (result.stop_reason, result.usage.completion_tokens) == ("max_tokens", own + 3)


def test_an_agent_that_is_stopped_says_so() -> None:
    """The calling model reads why, and what there was of an answer."""
    (returned,), result, _ = run(Agent(Scripted(SOUP), limits=Limits(tokens=5)), CALL, FINAL)
    assert returned.error
    assert "(max_tokens). It had said: Soup" in returned.output
    assert result.text == "Soup it is."


def test_an_answer_of_a_type_is_json() -> None:
    """Where the engine cannot keep to a type, the caller is told."""
    tool = Agent(Scripted(RECIPE)).as_tool("chef", "Cooks.", output_type=int)
    with pytest.raises(ToolError, match="keeps to no grammar"):
        asyncio.run(tool.call('{"task": "How many?"}'))


def test_a_task_has_to_be_given() -> None:
    """Arguments are checked as those of any function."""
    tool = Agent(Scripted(RECIPE)).as_tool("chef", "Cooks.")
    with pytest.raises(ToolError, match="task is missing"):
        asyncio.run(tool.call("{}"))


class Notebook:
    """A python that has no sandbox."""

    namespace = ToolNamespaceConfig.python()
    closed = False

    async def call(self, function: str | None, arguments: str) -> str:
        raise SandboxUnavailableError("install bubblewrap")

    async def aclose(self) -> None:
        self.closed = True


def test_a_missing_sandbox_ends_both_runs() -> None:
    """No model can mend that."""
    call = "<|channel|>analysis to=python code<|message|>1<|call|>"
    with pytest.raises(SandboxUnavailableError):
        run(Agent(Scripted(call, FINAL), tools=[Notebook()]), CALL, FINAL)


def test_tools_of_the_inner_agent_are_closed_with_the_outer_one() -> None:
    """`run_sync` leaves no process behind, however deep."""
    notebook = Notebook()
    inner = Agent(Scripted(RECIPE), tools=[notebook]).as_tool("chef", "Cooks.")
    Agent(Scripted(CALL, FINAL), tools=[inner]).run_sync("What can I eat?")
    assert notebook.closed
