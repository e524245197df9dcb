"""What a model can call: Python functions, and the tools that gpt-oss was trained with.

A name loads its module when it is first used, so that a program pays only for the tools it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.errors import ToolError
    from harmony.tools.browser import Browser
    from harmony.tools.citations import Citation
    from harmony.tools.functions import FunctionTool, function
    from harmony.tools.mcp import MCPServer
    from harmony.tools.python import Python
    from harmony.tools.tool import BuiltinTool, CallableTool, Tool

__all__ = [
    "Browser",
    "BuiltinTool",
    "CallableTool",
    "Citation",
    "FunctionTool",
    "MCPServer",
    "Python",
    "Tool",
    "ToolError",
    "function",
]

_HOMES = {
    "Browser": "harmony.tools.browser",
    "BuiltinTool": "harmony.tools.tool",
    "CallableTool": "harmony.tools.tool",
    "Citation": "harmony.tools.citations",
    "FunctionTool": "harmony.tools.functions",
    "MCPServer": "harmony.tools.mcp",
    "Python": "harmony.tools.python",
    "Tool": "harmony.tools.tool",
    "ToolError": "harmony.errors",
    "function": "harmony.tools.functions",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
