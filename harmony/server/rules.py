"""What the turns of a request keep to: its schemas, and the tools that it lets the model call.

They are kept by the constraint of the agent. A `strict` schema and a `tool_choice` that demands a call are
promises: where they cannot be kept, the request is refused. All else is kept as far as the engine can.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harmony import ToolDescription, TurnGrammar
from harmony.agent.enforcement import constrain
from harmony.errors import GrammarError, RequestError, SchemaError, SchemaUnsupportedError
from harmony.formats import JsonSchema
from harmony.located import Located
from harmony.openai_parts import read_response_format
from harmony.runtime.generation import keeps_to_grammars
from harmony.server.hosted import CHOICES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harmony import ToolNamespaceConfig
    from harmony.runtime.constraint import Constraint
    from harmony.runtime.generation import TokenEngine
    from harmony.server.requests import Asked

_ANY_ARGUMENTS: Final = {"type": "object"}
_FUNCTIONS: Final = "functions."

_log = logging.getLogger("harmony.server")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a schema stands in a request, and whether it is to be kept at any rate."""

    about: str
    param: str
    code: str | None
    strict: bool

    def refusal(self, error: GrammarError) -> RequestError:
        return RequestError(f"Invalid schema for {self.about}: {error}", code=self.code, param=self.param)


@dataclass(frozen=True, slots=True)
class _Function:
    place: _Place
    description: ToolDescription

    def enforceable(self) -> ToolDescription:
        """The function with arguments that can be enforced. Raises RequestError."""
        loose = ToolDescription.new(self.description.name, "", _ANY_ARGUMENTS)
        return self.description if _is_enforceable(self.place, functions=[self.description]) else loose


@dataclass(frozen=True, slots=True)
class _Answer:
    place: _Place
    format: JsonSchema

    def enforceable(self) -> JsonSchema:
        """The format, or any JSON where it cannot be enforced. Raises RequestError."""
        return self.format if _is_enforceable(self.place, response=self.format) else JsonSchema({})


def stated_rules(asked: Asked) -> str:
    """All that the rules of a request come from."""
    return repr([asked.api, *map(asked.body.get, ("tools", "tool_choice", "text", "response_format"))])


class TurnRules:
    """The rules of all requests that state them in the same words; `namespaces` are the built-in tools.

    Raises RequestError for a choice of tools that there are not.
    """

    def __init__(self, asked: Asked, namespaces: Sequence[ToolNamespaceConfig]) -> None:
        self._grammars: dict[bool, TurnGrammar] = {}
        functions = _functions(asked)
        known = {f"{_FUNCTIONS}{f.description.name}" for f in functions} | {n.name for n in namespaces}
        self._choice, allowed = _chosen(asked.body.get("tool_choice", "auto"), known)
        self._functions = [f for f in functions if f"{_FUNCTIONS}{f.description.name}" in allowed]
        self._namespaces = [namespace for namespace in namespaces if namespace.name in allowed]
        self._answer = _answer(asked)
        self._demanded_by = self._first_demand()

    async def constraint(self, engine: TokenEngine, *, first: bool) -> Constraint | None:
        """What keeps the `first` turn of a request, or another, to the rules, ready to be used.

        A call that is demanded is made in the first turn. None where the engine can be kept to nothing and
        nothing was promised; a promise raises RequestError then.
        """
        try:
            if keeps_to_grammars(engine) and first not in self._grammars:
                self._grammars[first] = await asyncio.to_thread(self._grammar, first=first)
            constraint = constrain(engine, lambda: self._grammars[first])
            return constraint if constraint.is_compiled else await asyncio.to_thread(constraint.ready)
        except GrammarError as error:
            if self._demanded_by is not None:
                raise RequestError(
                    f"{self._demanded_by} asks for what cannot be enforced here: {error}",
                    code="unsupported_value",
                    param=self._demanded_by,
                ) from error
            _log.info("a turn is not enforced: %s", error)
            return None

    def _grammar(self, *, first: bool) -> TurnGrammar:
        choice = self._choice if first or self._choice == "none" else "auto"
        functions = [function.description for function in self._functions]
        response = None if self._answer is None else self._answer.format
        try:
            return self._grammar_of(choice, functions, response)
        except SchemaError:
            functions = [function.enforceable() for function in self._functions]
            response = None if self._answer is None else self._answer.enforceable()
            return self._grammar_of(choice, functions, response)

    def _grammar_of(
        self, choice: str, functions: Sequence[ToolDescription], response: JsonSchema | None
    ) -> TurnGrammar:
        """Without preambles for who asked for JSON: clients read all that is said to the user as such."""
        return TurnGrammar.of(
            functions,
            self._namespaces,
            tool_choice=choice,
            response=response,
            preambles=response is None,
        )

    def _first_demand(self) -> str | None:
        """The field that promises something."""
        if self._choice == "required":
            return "tool_choice"
        places = [function.place for function in self._functions]
        if self._answer is not None:
            places.insert(0, self._answer.place)
        return next((place.param for place in places if place.strict), None)


def _functions(asked: Asked) -> list[_Function]:
    inner = "" if asked.api == "responses" else "function."
    return [
        _Function(
            _Place(
                f"function {stated['name']!r}",
                f"tools[{index}].{inner}parameters",
                "invalid_function_parameters",
                stated.get("strict") is True,
            ),
            ToolDescription.new(stated["name"], "", stated.get("parameters")),
        )
        for index, stated in enumerate(asked.described)
    ]


def _answer(asked: Asked) -> _Answer | None:
    body = Located(asked.body, "")
    if asked.api == "responses":
        text, inside = body.get("text"), None
        stated, param, code = text and text.get("format"), "text.format.schema", "invalid_json_schema"
    else:
        stated, inside = body.get("response_format"), "json_schema"
        param, code = "response_format", None
    read = read_response_format(stated, schema_in=inside)
    if stated is None or read is None:
        return None
    details = stated.get(inside) if inside else stated
    strict = details is not None and details.members().get("strict") is True
    place = _Place(f"response_format {read.name!r}", param, code, strict)
    return _Answer(place, read)


def _chosen(stated: object, known: Collection[str]) -> tuple[str, Collection[str]]:
    """Whether to call a tool, and the recipients that may be called. Raises RequestError."""
    match stated:
        case "auto" | "none" | "required":
            choice, allowed = stated, known
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [*tools]} | {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [*tools]},
        }:
            choice, allowed = mode, {_recipient(tool) for tool in tools}
        case _:
            choice, allowed = "required", {_recipient(stated)}
    if missing := sorted(set(allowed) - set(known)):
        raise _no_choice(f"names {missing[0]}, which is not among the tools")
    if choice == "required" and not allowed:
        raise _no_choice("demands a call, and there are no tools")
    return choice, allowed


def _recipient(tool: object) -> str:
    match tool:
        case {"type": "function", "name": str(name)} | {"type": "function", "function": {"name": str(name)}}:
            return f"{_FUNCTIONS}{name}"
        case {"type": str(kind)} if kind in CHOICES:
            return CHOICES[kind]
    raise _no_choice("must be auto, none, required, a function, or allowed_tools with a mode and functions")


def _no_choice(problem: str) -> RequestError:
    return RequestError(f"tool_choice {problem}", param="tool_choice")


def _is_enforceable(place: _Place, **part: Any) -> bool:
    """Whether the schema of a part can be enforced; raises RequestError for one that is none or is strict."""
    try:
        TurnGrammar.of(**part)
    except SchemaUnsupportedError as error:
        if place.strict:
            raise place.refusal(error) from error
        _log.info("the schema of %s is not enforced: %s", place.about, error)
        return False
    except SchemaError as error:
        raise place.refusal(error) from error
    return True
