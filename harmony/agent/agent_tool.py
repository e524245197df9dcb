"""An agent as the tool of another: it gets a task as text, works on it by itself, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from harmony.errors import ToolError
from harmony.tools.functions import function

if TYPE_CHECKING:
    from harmony import ToolDescription
    from harmony.agent.agent import Agent
    from harmony.agent.output import Format
    from harmony.agent.run import RunResult


class AgentTool:
    """A function that the model calls with a task; each call is a run with a new conversation.

    The caller reads the answer alone: no reasoning, no tool calls. What the run spends counts as spent by the
    run that called it, whose limits of tokens and time hold for both. `agent` keeps its own tools, limits
    and approval; its tools are closed with those of the agent that has it.
    """

    def __init__(
        self, agent: Agent, name: str, description: str, output_type: type[object] | Format | None = None
    ) -> None:
        self._agent = agent
        self._name = name
        self._output_type = output_type
        self._function = function(name=name, description=description)(self._answer)

    @property
    def description(self) -> ToolDescription:
        """Name, description and JSON schema of the parameters."""
        return self._function.description

    async def call(self, arguments: str) -> str:
        """The answer to a task. Raises ToolError, for the model, when there is none."""
        return await self._function.call(arguments)

    async def aclose(self) -> None:
        """End the processes of the agent's tools."""
        await self._agent.close_tools()

    async def _answer(self, task: Annotated[str, "What to do, with all that has to be known for it"]) -> str:
        result: RunResult[Any]
        if self._output_type is None:
            result = await self._agent.run(task)
        else:
            result = await self._agent.run(task, output_type=self._output_type)
        if result.stop_reason != "answer" and not result.closed:
            said = f"It had said: {result.text}" if result.text else "It had said nothing."
            raise ToolError(f"{self._name} was stopped before it had answered ({result.stop_reason}). {said}")
        return result.text
