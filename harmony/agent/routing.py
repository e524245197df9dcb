"""Which tool answers a call, and what the model is told when none does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harmony import Segment
from harmony.errors import ApprovalNeededError, SandboxUnavailableError, ToolError
from harmony.tools.approval import Approve, ask
from harmony.tools.citations import Citation
from harmony.tools.tool import (
    BrowsingTool,
    BuiltinTool,
    CallableTool,
    CitableTool,
    ClosableTool,
    FittedTool,
    Tool,
)

_FUNCTIONS = "functions."


@dataclass(frozen=True)
class Answer:
    """What a tool said: who said it, its text, and whether it is an error."""

    author: str
    text: str
    error: bool


class Toolbox:
    """The tools of an agent, found by the recipients that models really write.

    A function is found with and without `functions.`, a built-in tool too, and special tokens that were
    sampled into the recipient are passed over. Whatever goes wrong in a tool becomes a text for
    the model; only a sandbox that is not to be had and a call that waits for approval end the run. `approve`
    is asked before every call.

    Raises ToolError when two tools have one name, and for what is no tool.
    """

    def __init__(self, tools: Sequence[Tool], approve: Approve | None = None) -> None:
        self._approve = approve
        self.builtin = {t.namespace.name: t for t in tools if isinstance(t, BuiltinTool)}
        self.functions = {t.description.name: t for t in tools if isinstance(t, CallableTool)}
        for tool in tools:
            if not isinstance(tool, BuiltinTool | CallableTool):
                raise ToolError(f"{tool!r} is not a tool; harmony.tools.function makes a function one")
        names = [t.namespace.name if isinstance(t, BuiltinTool) else t.description.name for t in tools]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise ToolError(
                f"Two tools are named {', '.join(doubles)}; rename one, or prefix those of a server."
            )

    @property
    def names(self) -> list[str]:
        """The recipients that have a tool."""
        return [*self.builtin, *(_FUNCTIONS + name for name in self.functions)]

    async def call(self, recipient: str, arguments: str) -> Answer:
        """Let the tool that `recipient` names answer."""
        author = self.author(recipient)
        try:
            await ask(self._approve, author, arguments)
            return Answer(author, await self._run(author, arguments), error=False)
        except (SandboxUnavailableError, ApprovalNeededError):
            raise
        except ToolError as error:
            return Answer(author, f"Error: {error}", error=True)
        except Exception as error:
            return Answer(author, f"Error: {type(error).__name__}: {error}", error=True)

    def fit(self, context_length: int) -> None:
        """Tell the tools how many tokens the model's context has."""
        for tool in self.builtin.values():
            if isinstance(tool, FittedTool):
                tool.fit(context_length)

    def citations(self, answer: str) -> tuple[Citation, ...]:
        """What an answer cites of the pages that its tools have displayed."""
        citable = [tool for tool in self.builtin.values() if isinstance(tool, CitableTool)]
        return tuple(citation for tool in citable for citation in tool.citations(answer))

    def action(self, recipient: str, arguments: str) -> dict[str, str] | None:
        """What a call would look up, if it is one to a tool that browses (`BrowsingTool.action`)."""
        namespace, _, function = self.author(recipient).partition(".")
        tool = self.builtin.get(namespace)
        return tool.action(function or None, arguments) if isinstance(tool, BrowsingTool) else None

    def pass_over(self, said: Iterable[Segment]) -> None:
        """Let no page take a cursor of a page that was displayed in what was `said`, and may be gone.

        Of what was sampled here, the answers of the tools stand beside it: what else it cites was never
        displayed, and takes no cursor. What came as messages may cite pages whose display did not come along.
        """
        browsing = [tool for tool in self.builtin.values() if isinstance(tool, BrowsingTool)]
        for segment in said if browsing else ():
            if segment.message is not None and not segment.is_sampled:
                for tool in browsing:
                    tool.pass_over(segment.message)

    async def aclose(self) -> None:
        """End what the tools hold."""
        for tool in (*self.builtin.values(), *self.functions.values()):
            if isinstance(tool, ClosableTool):
                await tool.aclose()

    def author(self, recipient: str) -> str:
        """The tool that is meant, by its full name; the recipient itself where there is none."""
        name = recipient.partition("<|")[0]
        while name.startswith(_FUNCTIONS):
            name = name.removeprefix(_FUNCTIONS)
        if name in self.functions:
            return _FUNCTIONS + name
        return name if name.partition(".")[0] in self.builtin else recipient

    async def _run(self, author: str, arguments: str) -> str:
        if author.removeprefix(_FUNCTIONS) in self.functions:
            return await self.functions[author.removeprefix(_FUNCTIONS)].call(arguments)
        namespace, _, function = author.partition(".")
        if namespace in self.builtin:
            return await self.builtin[namespace].call(function or None, arguments)
        raise ToolError(no_such_tool(author, self.names))


def no_such_tool(recipient: str, known: Sequence[str]) -> str:
    """What the model is told that calls a tool nobody has."""
    return f"There is no tool {recipient!r}. Available tools: {', '.join(known) or 'none'}."
