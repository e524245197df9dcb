"""Ask before a tool runs: a callback of the user's that says yes, no, or not now to a call."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from harmony.errors import ApprovalNeededError, ToolError
from harmony.tools.threads import in_thread

Decision = bool | Literal["later"]
Approve = Callable[[str, str], Decision | Awaitable[Decision]]
"""Gets the tool's name and the arguments as the model wrote them; True lets the call run.

"later" ends the run with the call unanswered: it waits for somebody's decision, in a session. Synchronous
callbacks run in a thread, so one that waits for a person blocks nothing else.
"""

_approved: ContextVar[tuple[str, str] | None] = ContextVar("_approved", default=None)


@contextmanager
def approved(tool: str, arguments: str, *, already: bool) -> Iterator[None]:
    """While a tool is called, nobody is asked about this call if it was approved `already`; else of each."""
    token = _approved.set((_bare(tool), arguments) if already else None)
    try:
        yield
    finally:
        _approved.reset(token)


async def ask(approve: Approve | None, tool: str, arguments: str) -> None:
    """Return if the call may run; ToolError tells the model that its user refused.

    Raises ApprovalNeededError when that is to be decided later.
    """
    if approve is None or _approved.get() == (_bare(tool), arguments):
        return
    if inspect.iscoroutinefunction(approve):
        allowed = await approve(tool, arguments)
    else:
        answer = await in_thread(approve, tool, arguments)
        allowed = await answer if inspect.isawaitable(answer) else answer
    if allowed == "later":
        raise ApprovalNeededError(f"a call of {tool} waits for approval; approve or reject it in its session")
    if allowed is not True:
        raise ToolError(refusal(tool))


def refusal(tool: str, reason: str = "") -> str:
    """What the model is told of a call that its user refused."""
    said = f" They said: {reason}" if reason else ""
    return (
        f"The user refused this call of {tool}, so it did not run. Do not try it again; "
        f"go on without it, or ask the user what to do.{said}"
    )


def _bare(tool: str) -> str:
    """The name that an agent and the function itself have for one tool."""
    return tool.removeprefix("functions.")
