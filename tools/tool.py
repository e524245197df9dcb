"""What the agent asks of a tool."""

from typing import Protocol, runtime_checkable

from harmony import ToolDescription, ToolNamespaceConfig
from harmony.tools.citations import Citation


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


@runtime_checkable
class CitableTool(Protocol):
    """A tool that displays pages, which answers cite."""

    def citations(self, answer: str) -> list[Citation]:
        """The citations in an answer that name lines of a page that was displayed."""


@runtime_checkable
class FittedTool(Protocol):
    """A tool that sizes its answers to the model."""

    def fit(self, context_length: int) -> None:
        """Expect a model whose context has `context_length` tokens."""


@runtime_checkable
class ClosableTool(Protocol):
    """A tool that holds processes, connections or files."""

    async def aclose(self) -> None:
        """End them."""


Tool = BuiltinTool | CallableTool
"""What a model can call: a tool that it was trained with, or a function."""
