"""Grammars as llguidance takes them as symbols: in its Lark dialect, or a JSON schema alone.

Read are rules and terminals of strings, regular expressions, special tokens, groups, alternatives,
repetitions, `%json` and nested `%lark`. A grammar with anything else in it is unknown as a whole.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from harmony.runtime.closing.regexes import whole_match
from harmony.runtime.closing.schemas import json_of
from harmony.runtime.closing.symbols import (
    Choice,
    Repeat,
    Rule,
    Sequence,
    Special,
    Symbol,
    Text,
    Unknown,
)

_TOKEN: Final = re.compile(
    r"(?P<blank>(?:\s|//[^\n]*|#[^\n]*)+)"
    r'|(?P<string>"(?:\\.|[^"\\\n])*")(?P<ignorecase>i?)'
    r"|/(?P<regex>(?:\\.|[^/\\\n])+)/(?P<flags>[imslux]*)"
    r"|<(?P<special>[^\s<>\[\]]+)>"
    r"|(?P<directive>%\w+)\s*"
    r"|(?P<define>[a-zA-Z_][\w-]*)\s*:"
    r"|(?P<name>[a-zA-Z_][\w-]*)"
    r"|\{(?P<least>\d*)(?P<range>,?)(?P<most>\d*)\}"
    r"|(?P<mark>[|()?*+}])",
    re.DOTALL,
)
_JSON: Final = json.JSONDecoder()


class _UnreadError(Exception):
    """Syntax that is not read here."""


def symbol_of(grammar: str, special: Mapping[str, int]) -> Symbol:
    """The texts of a grammar, in which `special` names the special tokens."""
    reader = _Reader(grammar, 0, special)
    try:
        if grammar.startswith("{"):
            return json_of(json.loads(grammar)["grammars"][0]["json_schema"])
        reader.rules_until("")
    except (_UnreadError, ValueError, RecursionError) as error:
        return Unknown(str(error))
    return reader.rule("start")


class _Reader:
    """Reads one grammar, which may be nested in another: from `position` on."""

    def __init__(self, text: str, position: int, special: Mapping[str, int]) -> None:
        self.position = position
        self._text = text
        self._special = special
        self._rules: dict[str, Rule] = {}
        self._token: re.Match[str] | None = None

    def rule(self, name: str) -> Rule:
        return self._rules.setdefault(name, Rule(name))

    def rules_until(self, end: str) -> None:
        """Read definitions up to the end of the text, or to the brace that closes a nested grammar."""
        self._next()
        while (token := self._token) is not None and token["mark"] != end:
            if token["define"]:
                self._next()
                self.rule(token["define"]).body = self._choice()
            elif token["directive"] == "%llguidance":
                self._value(token)
                self._next()
            else:
                raise _UnreadError(token[0])
        if end and self._token is None:
            raise _UnreadError("an open brace")

    def _choice(self) -> Symbol:
        options = [self._sequence()]
        while self._takes("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Symbol:
        parts: list[Symbol] = []
        while (token := self._token) and not token["define"] and token["mark"] not in ("|", ")", "}"):
            symbol = self._atom(token)
            while (times := self._token) and (times["mark"] in ("?", "*", "+") or times["range"] is not None):
                self._next()
                symbol = _repeated(symbol, times)
            parts.append(symbol)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _atom(self, token: re.Match[str]) -> Symbol:
        """The symbol that begins with this token."""
        if token["directive"] == "%json":
            schema = self._value(token)
            self._next()
            if isinstance(schema, bool | dict):
                return json_of(schema)
        elif token["directive"] == "%lark":
            inner = _Reader(self._text, self._text.index("{", token.end()) + 1, self._special)
            inner.rules_until("}")
            self.position = inner.position
            self._next()
            return inner.rule("start")
        self._next()
        if token["mark"] == "(":
            group = self._choice()
            if self._takes(")"):
                return group
        elif token["string"] and not token["ignorecase"]:
            return Text(json.loads(token["string"], strict=False))
        elif token["regex"]:
            return whole_match(f"^(?{token['flags']}:{token['regex']})$")
        elif token["special"] and (name := f"<{token['special']}>") in self._special:
            return Special(self._special[name])
        elif token["name"]:
            return self.rule(token["name"])
        raise _UnreadError(token[0])

    def _value(self, token: re.Match[str]) -> object:
        """The JSON after a directive; reading goes on behind it."""
        value, self.position = _JSON.raw_decode(self._text, token.end())
        return value

    def _takes(self, mark: str) -> bool:
        if self._token is None or self._token["mark"] != mark:
            return False
        self._next()
        return True

    def _next(self) -> None:
        while (token := _TOKEN.match(self._text, self.position)) and token["blank"]:
            self.position = token.end()
        if token is None and self.position < len(self._text):
            raise _UnreadError(self._text[self.position])
        self.position = token.end() if token else self.position
        self._token = token


def _repeated(symbol: Symbol, times: re.Match[str]) -> Symbol:
    if times["mark"]:
        return Repeat(symbol, int(times["mark"] == "+"), 1 if times["mark"] == "?" else None)
    least = int(times["least"] or 0)
    return Repeat(symbol, least, int(times["most"]) if times["most"] else None if times["range"] else least)
