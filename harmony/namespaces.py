"""The two tool namespaces that gpt-oss was trained with, in the words it was trained on.

Source: the browser and python sections of the harmony format, https://github.com/openai/harmony.
"""

from __future__ import annotations

from typing import Any


def browser_namespace() -> dict[str, Any]:
    """The `browser` namespace as JSON, fresh at each call."""
    return {
        "name": "browser",
        "description": (
            "Tool for browsing.\n"
            "The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
            "Cite information from the tool using the following format:\n"
            "`【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.\n"
            "Do not quote more than 10 words directly from the tool output.\n"
            "sources=web (default: web)"
        ),
        "tools": [
            {
                "name": "search",
                "description": "Searches for information related to `query` and displays `topn` results.",
                "parameters": _parameters(
                    required=["query"], query=_string(), topn=_number(default=10), source=_string()
                ),
            },
            {
                "name": "open",
                "description": (
                    "Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, "
                    "showing `num_lines` lines.\n"
                    "Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
                    "If `cursor` is not provided, the most recent page is implied.\n"
                    "If `id` is a string, it is treated as a fully qualified URL associated with `source`.\n"
                    "If `loc` is not provided, the viewport will be positioned at the beginning of the "
                    "document or centered on the most relevant passage, if available.\n"
                    "Use this function without `id` to scroll to a new location of an opened page."
                ),
                "parameters": _parameters(
                    id={"type": ["number", "string"], "default": -1},
                    cursor=_number(default=-1),
                    loc=_number(default=-1),
                    num_lines=_number(default=-1),
                    view_source={"type": "boolean", "default": False},
                    source=_string(),
                ),
            },
            {
                "name": "find",
                "description": (
                    "Finds exact matches of `pattern` in the current page, or the page given by `cursor`."
                ),
                "parameters": _parameters(
                    required=["pattern"], pattern=_string(), cursor=_number(default=-1)
                ),
            },
        ],
    }


def python_namespace() -> dict[str, Any]:
    """The `python` namespace as JSON, fresh at each call."""
    return {
        "name": "python",
        "description": (
            "Use this tool to execute Python code in your chain of thought. The code will not be shown to "
            "the user. This tool should be used for internal reasoning, but not for code that is intended "
            "to be visible to the user (e.g. when creating plots, tables, or files).\n\n"
            "When you send a message containing Python code to python, it will be executed in a stateful "
            "Jupyter notebook environment. python will respond with the output of the execution or time "
            "out after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files. "
            "Internet access for this session is UNKNOWN. Depends on the cluster."
        ),
        "tools": [],
    }


def _parameters(*, required: list[str] | None = None, **properties: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema if required is None else schema | {"required": required}


def _string() -> dict[str, Any]:
    return {"type": "string"}


def _number(*, default: int) -> dict[str, Any]:
    return {"type": "number", "default": default}
