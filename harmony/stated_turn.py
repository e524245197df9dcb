"""A turn's grammar as JSON: what it is made of, for a server that keeps the turn to it.

`harmony.server.turns` reads it. What only the prompt says, such as descriptions, is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmony.formats import Choices, JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harmony.formats import AnswerFormat
    from harmony.messages import ReasoningEffort, ToolDescription, ToolNamespaceConfig

StatedTurn = dict[str, object]


def stated_turn(
    functions: Sequence[ToolDescription],
    namespaces: Sequence[ToolNamespaceConfig],
    *,
    tool_choice: str,
    response: AnswerFormat | None,
    channels: Collection[str],
    reasoning: ReasoningEffort | None,
    preambles: bool,
) -> StatedTurn:
    """The arguments of `TurnGrammar.of` as JSON; its schemas are the mappings that were given."""
    return {
        "functions": _tools(functions),
        "namespaces": [
            {"name": namespace.name, "tools": _tools(namespace.tools)} for namespace in namespaces
        ],
        "tool_choice": tool_choice,
        "response": None if response is None else _response(response),
        "channels": [*channels],
        "reasoning": None if reasoning is None else reasoning.lower(),
        "preambles": preambles,
    }


def _tools(tools: Sequence[ToolDescription]) -> list[dict[str, object]]:
    return [{"name": tool.name, "parameters": tool.parameters} for tool in tools]


def _response(response: AnswerFormat) -> Mapping[str, object]:
    match response:
        case JsonSchema(schema):
            return {"type": "json_schema", "schema": schema}
        case Regex(pattern):
            return {"type": "regex", "pattern": pattern}
        case Choices(choices):
            return {"type": "choices", "choices": [*choices]}
        case Lark(grammar):
            return {"type": "lark", "grammar": grammar}
