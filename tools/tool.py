"""What the agent asks of a tool."""

from typing import Protocol, runtime_checkable

from harmony import ToolDescription, ToolNamespaceConfig


@runtime_checkable
class BuiltinTool(Protocol):
    """A tool that gpt-oss was trained with; the system message describes it."""

    @property
    def namespace(self) -> ToolNamespaceConfig:
        """The description the model was trained on; its name is the recipient of calls."""

    async def call(self, function: str | None, arguments: str) -> str:
        """Answer a call to `namespace` (function None) or `namespace.function`.

        `arguments` is the text of the call, as sampled. Raises ToolError with a text for the model.
        """

    async def aclose(self) -> None:
        """End what the tool holds: processes, connections, files."""


@runtime_checkable
class CallableTool(Protocol):
    """A function of the user's; the developer message describes it in the `functions` namespace."""

    @property
    def description(self) -> ToolDescription:
        """Name, description and JSON schema of the parameters."""

    async def call(self, arguments: str) -> str:
        """Answer a call; `arguments` is JSON as sampled. Raises ToolError with a text for the model."""


Tool = BuiltinTool | CallableTool
