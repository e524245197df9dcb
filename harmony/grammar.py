"""The grammar of a whole assistant turn: everything that is sampled after `<|start|>assistant`.

It is written in the Lark dialect of llguidance, with special tokens as tokens, so that text can never be
taken for them. A turn is any number of analysis messages and preambles, then one call or the final answer.
Both orders in which gpt-oss writes a header are in it (the recipient with the channel, or before it), each
kind of message has its own end token, and the turn stops at its call or its answer.

Sources: https://github.com/openai/harmony, docs/format.md, and what the models are seen to write: a
content type with and without `<|constrain|>`, function calls on analysis, the type `code` for JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harmony.errors import GrammarError
from harmony.formats import JsonSchema, quoted
from harmony.messages import ReasoningEffort
from harmony.parsing import CHANNELS
from harmony.stated_turn import stated_turn
from harmony.turn_parts import MessageKind, TurnParts, written
from harmony.watch import ANSWER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harmony.formats import AnswerFormat
    from harmony.messages import ToolDescription, ToolNamespaceConfig
    from harmony.schemas import EnforcedSchema

_ANALYSIS: Final = MessageKind("analysis", '<|channel|> "analysis"', [[["<|channel|>analysis"]]], "<|end|>")
_PREAMBLE: Final = MessageKind(
    "preamble", '<|channel|> "commentary"', [[["<|channel|>commentary"]]], "<|end|>"
)
_THINKING: Final = (ReasoningEffort.MEDIUM, ReasoningEffort.HIGH)
_MARKS: Final = ("<|constrain|>", " <|constrain|>", " ")
_TYPES: Final = {
    "json": '(" "? <|constrain|> "json" | " json")?',
    "json_or_code": '(" "? <|constrain|> ("json" | "code") | " json" | " code")?',
    "code": '(" "? <|constrain|> "code" | " code")?',
}
_SPELLED: Final = {
    kind: ["", *(f"{mark}{name}" for name in kind.split("_or_") for mark in _MARKS)] for kind in _TYPES
}
_RECIPIENT: Final = re.compile(r"[^\s<>]+")


@dataclass(frozen=True, slots=True)
class TurnGrammar:
    """The grammar of one turn.

    `text` is the grammar; `reasoning_end` is the text of the tokens, special ones spelled out, that end
    the reasoning and begin the answer, or the call where there must be one. `watched` are the schemas of
    which the grammar leaves something over, by recipient, that of the answer by ANSWER; a TurnWatch sees
    to them. `parts` are the same grammar, cut at the headers of its messages. `stated` is what it was made
    of, as JSON, for a server that keeps turns to their grammars by itself.
    """

    text: str
    reasoning_end: str
    watched: Mapping[str, EnforcedSchema]
    parts: TurnParts | None = None
    stated: Mapping[str, object] | None = None

    @classmethod
    def of(
        cls,
        functions: Sequence[ToolDescription] = (),
        namespaces: Sequence[ToolNamespaceConfig] = (),
        *,
        tool_choice: str = "auto",
        response: AnswerFormat | None = None,
        channels: Collection[str] = CHANNELS,
        reasoning: ReasoningEffort | None = None,
        preambles: bool = True,
    ) -> TurnGrammar:
        """The grammar of a turn with these tools.

        `functions` are called by JSON in the `functions` namespace. `namespaces` are the built-in tools:
        the tools of one are called by JSON on analysis, one without tools, such as python, by plain text.
        `tool_choice` is "auto", "none", "required", or the name of the tool to call. `response` None
        allows any text in the final answer. `reasoning` medium or high makes the turn begin with
        analysis, low or None leaves that to the model. `preambles` are what it says to the user on
        commentary before a call.

        Raises `GrammarError` for tools that cannot be named, choices that do not exist, a schema that is
        not JSON, and when nothing is left that could end the turn.

        >>> print(TurnGrammar.of(response=Choices(("yes", "no"))).text)
        %llguidance {}
        start: analysis* final
        TEXT: /(?s:.*)/
        analysis: <|channel|> "analysis" <|message|> TEXT <|end|> <|start|> "assistant"
        final: <|channel|> "final" <|message|> answer <|return|>
        answer: "yes" | "no"
        """
        calls = _chosen(_calls(functions, namespaces, channels), tool_choice)
        answers = tool_choice in ("auto", "none") and "final" in channels
        if not calls and not answers:
            raise GrammarError("A turn needs a tool to call or the channel final; give one of them.")
        thinks = "analysis" in channels
        speaks = preambles and bool(calls) and "commentary" in channels
        schemas = {call.recipient: enforce(call.schema) for call in calls if call.schema is not None}
        before = [*[_ANALYSIS] * thinks, *[_PREAMBLE] * speaks]
        last = [call.message(number, schemas.get(call.recipient)) for number, call in enumerate(calls)]
        if answers and isinstance(response, JsonSchema):
            schemas[ANSWER] = enforce(response.schema)
        if answers:
            last.append(_final(response))
        first = before[:1] if thinks and reasoning in _THINKING else []
        ending = "<|channel|>final" if answers else f" to={calls[0].recipient if len(calls) == 1 else ''}"
        return cls(
            _whole(first, before, last),
            f"<|end|><|start|>assistant{ending}",
            {name: schema for name, schema in schemas.items() if schema.residuals},
            TurnParts.of(first, before, last),
            stated_turn(
                functions,
                namespaces,
                tool_choice=tool_choice,
                response=response,
                channels=channels,
                reasoning=reasoning,
                preambles=preambles,
            ),
        )


def enforce(schema: Mapping[str, object]) -> EnforcedSchema:
    """A schema made enforceable, by libraries that are loaded for whoever has one."""
    from harmony.schemas import enforce

    return enforce(schema)


@dataclass(frozen=True, slots=True)
class _Call:
    """A tool as the model calls it; without `schema`, by plain text."""

    recipient: str
    channels: tuple[str, ...]
    schema: Mapping[str, object] | None

    def message(self, number: int, enforced: EnforcedSchema | None) -> MessageKind:
        kind = "code" if enforced is None else "json_or_code"
        rules = {kind: _TYPES[kind]}
        channel = f"<|channel|> {quoted(self.channels[0])}"
        if len(self.channels) > 1:
            rules["channel"] = f"<|channel|> ({' | '.join(map(quoted, self.channels))})"
            channel = "channel"
        recipient = quoted(f" to={self.recipient}")
        header = f"({channel} {recipient} | {recipient} {channel}) {kind}"
        channels, to = [f"<|channel|>{name}" for name in self.channels], [f" to={self.recipient}"]
        spelled = [[channels, to, _SPELLED[kind]], [to, channels, _SPELLED[kind]]]
        body, rule = ("TEXT", None) if enforced is None else (f"arguments_{number}", f"%json {enforced.mask}")
        return MessageKind(f"call_{number}", header, spelled, "<|call|>", rules, body, rule)

    def is_named(self, name: str) -> bool:
        """Whether a tool choice means it, alone or with its namespace."""
        namespace, _, function = self.recipient.partition(".")
        return name in (self.recipient, namespace if namespace != "functions" else function)


def _calls(
    functions: Sequence[ToolDescription], namespaces: Sequence[ToolNamespaceConfig], channels: Collection[str]
) -> list[_Call]:
    for_functions = tuple(name for name in ("commentary", "analysis") if name in channels)
    for_builtins = ("analysis",) if "analysis" in channels else for_functions
    calls = [_Call(f"functions.{f.name}", for_functions, _object(f.parameters)) for f in functions]
    for namespace in namespaces:
        calls += [
            _Call(f"{namespace.name}.{tool.name}", for_builtins, _object(tool.parameters))
            for tool in namespace.tools
        ] or [_Call(namespace.name, for_builtins, None)]
    for call in calls:
        if not _RECIPIENT.fullmatch(call.recipient):
            raise GrammarError(f"{call.recipient!r} cannot be called: remove blanks, < and > from its name.")
    if len({call.recipient for call in calls}) < len(calls):
        raise GrammarError("Two tools have the same name; rename one of them.")
    return calls if for_functions else []


def _object(parameters: Mapping[str, object] | None) -> Mapping[str, object]:
    """The schema of arguments, which are always an object; None are no parameters."""
    if parameters is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    has_kind = not parameters.keys().isdisjoint(("type", "$ref", "anyOf", "oneOf", "allOf"))
    return parameters if has_kind else {"type": "object", **parameters}


def _chosen(calls: list[_Call], tool_choice: str) -> list[_Call]:
    if tool_choice in ("auto", "required"):
        return calls
    if tool_choice == "none":
        return []
    if named := [call for call in calls if call.is_named(tool_choice)]:
        return named
    known = ", ".join(call.recipient for call in calls) or "none"
    raise GrammarError(f"There is no tool {tool_choice!r} to choose; there are: {known}.")


def _final(response: AnswerFormat | None) -> MessageKind:
    header, spelled = '<|channel|> "final"', ["<|channel|>final"]
    if response is None:
        return MessageKind("final", header, [[spelled]], "<|return|>")
    is_json = isinstance(response, JsonSchema)
    return MessageKind(
        "final",
        f"{header} json" if is_json else header,
        [[spelled, _SPELLED["json"]] if is_json else [spelled]],
        "<|return|>",
        {"json": _TYPES["json"]} if is_json else {},
        "answer",
        response.rule,
        awaited=True,
    )


def _whole(first: Sequence[MessageKind], before: Sequence[MessageKind], last: Sequence[MessageKind]) -> str:
    """The grammar of messages of `first`, then any number of `before`, then one of `last`."""
    start = [kind.name for kind in first]
    if before:
        start.append(f"{_one_of(before)}*")
    rules = {"start": " ".join([*start, _one_of(last)]), "TEXT": "/(?s:.*)/"}
    for kind in (*before, *last):
        rules |= kind.rules
        rules[kind.name] = f"{kind.header} <|message|> {kind.body} {kind.end}"
        if kind in before:
            rules[kind.name] += ' <|start|> "assistant"'
        if kind.rule is not None:
            rules[kind.body] = kind.rule
    return written(rules)


def _one_of(kinds: Sequence[MessageKind]) -> str:
    names = [kind.name for kind in kinds]
    return names[0] if len(names) == 1 else f"({' | '.join(names)})"
