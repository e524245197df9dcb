"""Ask before a tool runs: a callback of the user's that says yes or no to a call."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from harmony.errors import ToolError

Approve = Callable[[str, str], bool | Awaitable[bool]]
"""Gets the tool's name and the arguments as the model wrote them; True lets the call run.

Synchronous callbacks run in a thread, so one that waits for a person blocks nothing else.
"""


async def ask(approve: Approve | None, tool: str, arguments: str) -> None:
    """Return if the call may run; ToolError tells the model that its user refused."""
    if approve is None:
        return
    if inspect.iscoroutinefunction(approve):
        allowed = await approve(tool, arguments)
    else:
        answer = await asyncio.to_thread(approve, tool, arguments)
        allowed = await answer if inspect.isawaitable(answer) else answer
    if allowed is not True:
        raise ToolError(
            f"The user refused this call of {tool}, so it did not run. Do not try it again; "
            "go on without it, or ask the user what to do."
        )
