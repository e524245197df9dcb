"""Turns sampled from random logits under a grammar, and a judge that knows nothing of grammars.

The next token is drawn from the packed mask: with logits that are the same random variable for every
token, each allowed token is as likely as any other. Now and then the draw is among the tokens that close
something, or among short ones, or else hardly any text would ever end.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.validators import validator_for
from random_schemas import random_schema

from harmony import (
    HarmonyEncoding,
    JsonSchema,
    ParseError,
    Role,
    StreamableParser,
    ToolDescription,
    ToolNamespaceConfig,
    TurnGrammar,
)
from harmony.runtime.closing.guide import Guide
from harmony.runtime.grammars import Grammars
from harmony.runtime.token_table import Mask, packed

BUILTINS = (ToolNamespaceConfig.python(), ToolNamespaceConfig.browser())
CLOSING = (
    '"',
    "}",
    "]",
    '"}',
    '"]',
    "}}",
    "]}",
    '",',
    "},",
    "],",
    '"},',
    ":",
    ",",
    "0",
    "null",
    "true",
    " to",
)


@dataclass(frozen=True)
class Request:
    """What a turn may use."""

    functions: tuple[ToolDescription, ...]
    builtins: tuple[ToolNamespaceConfig, ...]
    tool_choice: str
    schema: dict[str, Any] | None

    @cached_property
    def grammar(self) -> TurnGrammar:
        response = None if self.schema is None else JsonSchema(self.schema)
        return TurnGrammar.of(self.functions, self.builtins, tool_choice=self.tool_choice, response=response)

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The schema of each body of JSON by its recipient."""
        found = {f"functions.{f.name}": f.parameters or {"maxProperties": 0} for f in self.functions}
        for builtin in self.builtins:
            found |= {f"{builtin.name}.{t.name}": t.parameters or {} for t in builtin.tools}
        return found


def random_request(random: Random, schema: Callable[[Random], dict[str, Any]] = random_schema) -> Request:
    """Up to three functions, maybe the built-in tools, maybe a schema, and a choice that fits."""
    functions = tuple(
        ToolDescription.new(f"f{number}", "", random.choice((None, schema(random), schema(random))))
        for number in range(random.randrange(4))
    )
    builtins = BUILTINS if random.random() < 0.3 else ()
    names = [f.name for f in functions] + [b.name for b in builtins]
    choice = random.choice(["auto", "auto", "none", *(["required", random.choice(names)] if names else [])])
    return Request(functions, builtins, choice, schema(random) if random.random() < 0.7 else None)


class Sampler:
    """Draws tokens from masks."""

    def __init__(self, grammars: Grammars, encoding: HarmonyEncoding) -> None:
        words = grammars.table.words
        singles = [encoding.encode(text) for text in CLOSING]
        special = [token for name, token in grammars.table.special.items() if token < grammars.table.size]
        closing = [token for token, *rest in singles if not rest] + special
        short = [token for token, text in enumerate(grammars.table.tokens) if len(text) == 1]
        self._closing, self._short = packed(closing, words), packed(short, words)

    def draw(self, mask: Mask, random: Random, closing: float) -> int:
        """A token of the mask, with probability `closing` one of those that close, if there is one."""
        kind = random.random()
        if kind < closing + 0.15:
            narrowed = mask & (self._closing if kind < closing else self._short)
            if narrowed.any():
                mask = narrowed
        counts = np.bitwise_count(mask.view(np.uint32)).cumsum(dtype=np.int64)
        place = random.randrange(int(counts[-1]))
        word = int(np.searchsorted(counts, place, side="right"))
        before = int(counts[word - 1]) if word else 0
        bits = [bit for bit in range(32) if int(mask[word]) >> bit & 1]
        return word * 32 + bits[place - before]


def rollout(guide: Guide, sampler: Sampler, random: Random, closing: float) -> None:
    """Sample until the generation ends."""
    while not guide.ended:
        if not guide.given():
            guide.offer(sampler.draw(guide.mask(), random, closing))


FORMATS = FormatChecker()
assert not FORMATS.conforms("./a", "uri"), "without rfc3986-validator jsonschema takes any text for a URI"


_DATE, _TIME = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


@FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@FORMATS.checks("time", raises=ValueError)
def _is_time(value: object) -> bool:
    """RFC 3339; a leap second is none here."""
    written = re.compile(_TIME, re.ASCII | re.IGNORECASE)
    return not isinstance(value, str) or bool(written.fullmatch(value) and time.fromisoformat(value.upper()))


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    written = re.compile(f"{_DATE}T{_TIME}", re.ASCII | re.IGNORECASE)
    return not isinstance(value, str) or bool(
        written.fullmatch(value) and datetime.fromisoformat(value.upper())
    )


@FORMATS.checks("duration")
def _is_duration(value: object) -> bool:
    """RFC 3339, appendix A, as far as a duration has at least one part and each only digits."""
    parts = r"P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?"
    return not isinstance(value, str) or bool(re.fullmatch(parts, value, re.ASCII))


@FORMATS.checks("hostname")
def _is_hostname(value: object) -> bool:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    return not isinstance(value, str) or bool(re.fullmatch(rf"{label}(\.{label})*", value))


def malformation(request: Request, tokens: Sequence[int], encoding: HarmonyEncoding) -> str | None:
    """What is wrong with the framing of a whole turn."""
    parser = StreamableParser(encoding, Role.ASSISTANT, strict=True)
    try:
        for token in tokens:
            parser.process(token)
    except ParseError as error:
        return str(error)
    if parser.diagnostics:
        return str(parser.diagnostics[0])
    *before, last = parser.parsed_messages
    for parsed in before:
        if parsed.ending != "end" or parsed.message.recipient or parsed.message.channel == "final":
            return f"not a thought or preamble: {parsed}"
    message, python = last.message, any(b.name == "python" for b in request.builtins)
    if message.recipient is None:
        legal = message.channel == "final" and last.ending == "return"
        return None if legal and request.tool_choice in ("auto", "none") else f"no answer: {last}"
    legal = message.recipient in request.schemas or (python and message.recipient == "python")
    if not legal or last.ending != "call" or message.channel == "final" or request.tool_choice == "none":
        return f"no call: {last}"
    named = request.tool_choice in ("auto", "required") or request.tool_choice in message.recipient
    return None if named else f"not the tool that was chosen: {last}"


def violation(request: Request, tokens: Sequence[int], encoding: HarmonyEncoding) -> str | None:
    """How the JSON of a well-formed turn violates its schema, formats included."""
    last = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)[-1]
    text = "".join(content.text for content in last.content)
    schema = request.schema if last.recipient is None else request.schemas.get(last.recipient)
    if schema is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"{error}: {text}"
    validator = validator_for(schema, default=Draft202012Validator)(_ecma(schema), format_checker=FORMATS)
    return next((f"{error.message}: {text}" for error in validator.iter_errors(value)), None)


def _ecma(schema: Any) -> Any:
    r"""The schema with patterns as ECMA-262 reads them: `\w` and `\d` are ASCII, `\s` is not."""
    if isinstance(schema, list):
        return [_ecma(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    read = {key: part if key in ("const", "enum") else _ecma(part) for key, part in schema.items()}
    if isinstance(read.get("pattern"), str):
        read["pattern"] = _ecma_pattern(read["pattern"])
    if isinstance(read.get("patternProperties"), dict):
        read["patternProperties"] = {
            _ecma_pattern(name): part for name, part in read["patternProperties"].items()
        }
    return read


_BLANKS = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_CLASS_OR_ESCAPE = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\.", re.DOTALL)


def _ecma_pattern(pattern: str) -> str:
    """An expression for Python's `re` that reads the classes of ECMA-262.

    The same one if it has none of them: names of patterns can be part of references.
    """
    if not re.search(r"\\[wWdDsSbB]", pattern):
        return pattern

    def spelled_out(found: re.Match[str]) -> str:
        piece = found[0]
        if piece.startswith("["):
            return re.sub(r"\\(.)", lambda inner: _BLANKS if inner[1] == "s" else inner[0], piece)
        return {r"\s": f"[{_BLANKS}]", r"\S": f"[^{_BLANKS}]"}.get(piece, piece)

    return f"(?a:{_CLASS_OR_ESCAPE.sub(spelled_out, pattern)})"
