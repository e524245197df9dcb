"""What the agent asks of a tool."""

from typing import Protocol, Self, runtime_checkable

from harmony import Message, ToolDescription, ToolNamespaceConfig
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
class BrowsingTool(CitableTool, Protocol):
    """A tool that looks up pages and displays each under a cursor."""

    def action(self, function: str | None, arguments: str) -> dict[str, str] | None:
        """What a call would look up, in the words of Responses; None if it cannot be told.

        A `search` has a `query`, an `open_page` a `url`, a `find_in_page` a `pattern` and a `url`.
        """

    def pass_over(self, message: Message) -> None:
        """Display no page under a cursor that a message displays or cites of pages which are gone."""


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


@runtime_checkable
class ServedTool(BuiltinTool, Protocol):
    """A tool of which a server gives one to each request, and that goes on in the next of a conversation."""

    def copy(self) -> Self:
        """Another tool that goes on from here by itself, and is closed by itself.

        What was displayed goes along; what runs, and what the tools share, stays with this one.
        """

    @property
    def size(self) -> int:
        """How many characters it holds of what was displayed, at most."""


Tool = BuiltinTool | CallableTool
"""What a model can call: a tool that it was trained with, or a function."""
