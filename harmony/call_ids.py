"""Ids for tool calls, which harmony does not have and other formats refer by."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

from harmony.errors import ConversionError
from harmony.messages import Role
from harmony.recipients import called_tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harmony.messages import Message

NewId = Callable[[str], str]
"""Makes a new id that begins with a prefix such as `call`."""


def random_id(prefix: str) -> str:
    """An id that no other conversation has, such as `call_9f2c4e0b7a1d3f5e6c8b9a0d`."""
    return f"{prefix}_{secrets.token_hex(12)}"


def call_ids(messages: Sequence[Message], new_id: NewId) -> dict[int, str]:
    """The id of the tool call that a message makes or answers, by the index of the message.

    Harmony matches results to calls by the name of the tool alone. So the results that stand together
    answer the latest open calls of their tool, in the order of the calls. Raises ConversionError for a
    result of a tool that was not called.
    """
    ids: dict[int, str] = {}
    open_calls: defaultdict[str, list[str]] = defaultdict(list)
    for are_results, run in groupby(enumerate(messages), key=lambda each: each[1].author.role == Role.TOOL):
        if are_results:
            ids |= _answered(run, open_calls)
            continue
        for index, message in run:
            if (recipient := called_tool(message)) is not None:
                ids[index] = new_id("call")
                open_calls[_tool(recipient)].append(ids[index])
    return ids


def _answered(
    results: Iterable[tuple[int, Message]], open_calls: defaultdict[str, list[str]]
) -> dict[int, str]:
    """The ids of the calls that these results answer, taken from the open ones."""
    by_tool: defaultdict[str, list[int]] = defaultdict(list)
    for index, message in results:
        by_tool[_tool(message.author.name or "")].append(index)
    ids: dict[int, str] = {}
    for tool, indices in by_tool.items():
        calls = open_calls[tool][-len(indices) :]
        if len(calls) < len(indices):
            raise ConversionError(f"messages[{indices[-1]}]", f"the tool {tool!r} was not called before")
        del open_calls[tool][-len(indices) :]
        ids |= zip(indices, calls, strict=True)
    return ids


def _tool(address: str) -> str:
    return address.removeprefix("functions.")
