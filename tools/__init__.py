"""What a model can call: Python functions, and the tools that gpt-oss was trained with.

A name loads its module when it is first used, so that a program pays only for the tools it takes.
"""

from typing import TYPE_CHECKING

from harmony.errors import ToolError
from harmony.lazy import from_homes

if TYPE_CHECKING:
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
    "Browser": "browser",
    "BuiltinTool": "tool",
    "CallableTool": "tool",
    "Citation": "citations",
    "FunctionTool": "functions",
    "MCPServer": "mcp",
    "Python": "python",
    "Tool": "tool",
    "function": "functions",
}

__getattr__ = from_homes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
