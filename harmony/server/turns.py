"""The turn that a request for tokens is kept to, as `harmony.stated_turn` states it.

It comes from outside: its form is checked by the schema of the request, its schemas by the rules of every
schema, and what cannot be enforced is refused.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from harmony import Choices, JsonSchema, Lark, ReasoningEffort, Regex, ToolDescription, TurnGrammar
from harmony.agent.enforcement import constrain
from harmony.errors import ConstraintError, GrammarError, RequestError
from harmony.messages import ToolNamespaceConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.formats import AnswerFormat
    from harmony.runtime.constraint import Constraint
    from harmony.runtime.generation import TokenEngine
    from harmony.server.store import Bounded

Json = dict[str, Any]

_BESIDE: Final = ("written", "reasoning_tokens")
"""What says where a turn stands; the rest is its grammar."""


async def turn_kept(
    engine: TokenEngine, stated: Json, prompt: Sequence[int], grammars: Bounded[TurnGrammar]
) -> Constraint:
    """What keeps the rest of a turn to what is stated; the end of the prompt may be its beginning.

    `grammars` keeps what requests have in common. Raises RequestError.
    """
    key = json.dumps({name: value for name, value in stated.items() if name not in _BESIDE})
    try:
        grammar = grammars.get(key)
        if grammar is None:
            grammar = await asyncio.to_thread(_grammar, stated)
            grammars.put(key, grammar, 1)
        return await asyncio.to_thread(_constraint, engine, grammar, stated, prompt)
    except GrammarError as error:
        raise _refused("turn", f"cannot be kept: {error}") from error


def _constraint(engine: TokenEngine, grammar: TurnGrammar, stated: Json, prompt: Sequence[int]) -> Constraint:
    """What keeps the turn, as far as the prompt has come in it. Raises GrammarError and RequestError."""
    constraint = constrain(engine, lambda: grammar, reasoning_tokens=stated.get("reasoning_tokens")).ready()
    written = stated.get("written") or 0
    if written > len(prompt):
        raise _refused("turn.written", "are more tokens than the prompt has")
    try:
        constraint.accept(*prompt[len(prompt) - written :])
    except ConstraintError as error:
        raise _refused("turn.written", f"are no tokens of such a turn: {error}") from error
    if constraint.ended:
        raise _refused("turn.written", "are a whole turn; nothing may follow")
    return constraint


def _grammar(stated: Json) -> TurnGrammar:
    given = {name: value for name, value in stated.items() if value is not None}
    effort, response = given.get("reasoning"), given.get("response")
    options = {name: given[name] for name in ("tool_choice", "channels", "preambles") if name in given}
    return TurnGrammar.of(
        _tools(given.get("functions", ())),
        [
            ToolNamespaceConfig(name=namespace["name"], tools=_tools(namespace.get("tools") or ()))
            for namespace in given.get("namespaces", ())
        ],
        response=None if response is None else _response(response),
        reasoning=None if effort is None else ReasoningEffort(effort.capitalize()),
        **options,
    )


def _tools(stated: Sequence[Json]) -> list[ToolDescription]:
    return [ToolDescription.new(tool["name"], "", tool.get("parameters")) for tool in stated]


def _response(stated: Json) -> AnswerFormat:
    match stated["type"]:
        case "json_schema":
            return JsonSchema(stated["schema"])
        case "regex":
            return Regex(stated["pattern"])
        case "choices":
            return Choices(tuple(stated["choices"]))
    return Lark(stated["grammar"])


def _refused(param: str, problem: str) -> RequestError:
    return RequestError(f"{param} {problem}", code="unsupported_value", param=param)
