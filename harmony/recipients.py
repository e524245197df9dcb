"""Whom a message calls: the addresses of tools in harmony, and the names that other formats give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from harmony.vocabulary import CONSTRAIN_MARK

if TYPE_CHECKING:
    from collections.abc import Collection

    from harmony.messages import Message

_NOT_TOOLS: Final = frozenset({"all", "assistant", "user"})
_FUNCTIONS: Final = "functions."
_PYTHON: Final = "python"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def is_call(recipient: str | None) -> bool:
    """Whether a message with this recipient asks for a tool."""
    return recipient is not None and recipient not in _NOT_TOOLS


def called_tool(message: Message) -> str | None:
    """The address of the tool that the assistant calls in a message; None if it calls none."""
    if message.author.role != "assistant" or not is_call(message.recipient):
        return None
    return message.recipient


def is_function_name(name: str) -> bool:
    """Whether a function may be declared under this name: 1 to 64 of a-z, A-Z, 0-9, `_` and `-`."""
    return _NAME.fullmatch(name) is not None


def name_of(recipient: str, declared: Collection[str]) -> str:
    """The name of a called tool: of a function without `functions.`, of a built-in tool as it stands.

    The undeclared `functions.python` keeps its namespace, which tells it from the built-in `python`.
    """
    name = recipient.removeprefix(_FUNCTIONS)
    if name in declared or (is_function_name(name) and name != _PYTHON):
        return name
    return recipient


def recipient_of(name: str, declared: Collection[str]) -> str:
    """The recipient of a call to the tool with this name; undoes `name_of`."""
    is_address = "." in name or name == _PYTHON
    return name if is_address and name not in declared else _FUNCTIONS + name


def channel_of(recipient: str) -> str:
    """The channel on which the model was trained to call this tool."""
    return "commentary" if recipient.startswith(_FUNCTIONS) else "analysis"


def content_type_of(recipient: str) -> str:
    """The type of content with which the model was trained to call this tool."""
    return f"{CONSTRAIN_MARK}json" if recipient.startswith(_FUNCTIONS) else "code"
