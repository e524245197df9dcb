"""As much of TypeScript as tool signatures use: a parser, and whether a type admits a JSON value."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

BUILT_IN = {"string", "number", "boolean", "null", "any", "never", "true", "false"}

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\n]+ | //[^\n\r\u2028\u2029]*)
    | (?P<string>"(?:[^"\\\x00-\x1f\u2028\u2029]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
    | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<word>(?:[^\W\d]|\$)[\w$]*)
    | (?P<mark>=>|\.\.\.|[{}\[\]()<>|&,;:?=])
    """,
    re.VERBOSE,
)


@dataclass
class Node:
    """A type: its kind, what it is made of, and the names of properties where it has some."""

    kind: str
    parts: list[Any] = field(default_factory=list)
    value: Any = None


def parse(text: str) -> dict[str, Node]:
    """The types that a text declares, by name. Raises SyntaxError, also for a name that nothing declares."""
    parser = _Parser(text)
    declared: dict[str, Node] = {}
    while parser.tokens:
        parser.take("type")
        name = parser.word()
        if name in declared:
            raise SyntaxError(f"{name} is declared twice")
        parser.take("=")
        declared[name] = parser.type()
        parser.take(";")
    if unknown := parser.used - BUILT_IN - declared.keys():
        raise SyntaxError(f"nothing declares {unknown}")
    return declared


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.used: set[str] = set()
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise SyntaxError(f"no token: {text[position : position + 40]!r}")
            if match.lastgroup != "space":
                self.tokens.append((str(match.lastgroup), match.group()))
            position = match.end()
        self.tokens.reverse()

    def sees(self, mark: str) -> bool:
        return bool(self.tokens) and self.tokens[-1][0] in ("mark", "word") and self.tokens[-1][1] == mark

    def accept(self, mark: str) -> bool:
        if self.sees(mark):
            self.tokens.pop()
            return True
        return False

    def take(self, mark: str) -> None:
        if not self.accept(mark):
            raise SyntaxError(f"{mark} expected before {self.tokens[-6:][::-1]}")

    def word(self) -> str:
        kind, text = self.tokens.pop()
        if kind != "word" or not text.replace("$", "_").isidentifier():
            raise SyntaxError(f"a name expected, not {text}")
        return text

    def type(self) -> Node:
        self.accept("|")
        parts = [self.intersection()]
        while self.accept("|"):
            parts.append(self.intersection())
        return parts[0] if len(parts) == 1 else Node("union", parts)

    def intersection(self) -> Node:
        parts = [self.postfix()]
        while self.accept("&"):
            parts.append(self.postfix())
        return parts[0] if len(parts) == 1 else Node("intersection", parts)

    def postfix(self) -> Node:
        node = self.primary()
        while self.sees("[") and self.tokens[-2][1] == "]":
            self.take("[")
            self.take("]")
            node = Node("array", [node])
        return node

    def primary(self) -> Node:
        if self.accept("("):
            return self.parenthesis()
        if self.accept("{"):
            return self.object()
        if self.accept("["):
            return self.tuple()
        kind, text = self.tokens[-1]
        if kind in ("string", "number"):
            self.tokens.pop()
            return Node("literal", value=json.loads(text))
        name = self.word()
        if not self.accept("<"):
            self.used.add(name)
            return Node("name", value=name)
        if name not in ("Record", "Partial", "Array"):
            raise SyntaxError(f"{name} takes no arguments")
        parts = [self.type()]
        while self.accept(","):
            parts.append(self.type())
        self.take(">")
        return Node(name, parts)

    def parenthesis(self) -> Node:
        if self.accept(")"):
            self.take("=>")
            return Node("function", [self.type()])
        if len(self.tokens) > 1 and self.tokens[-1][0] == "word" and self.tokens[-2][1] == ":":
            self.word()
            self.take(":")
            argument = self.type()
            self.take(")")
            self.take("=>")
            return Node("function", [argument, self.type()])
        node = self.type()
        self.take(")")
        return node

    def object(self) -> Node:
        members: list[tuple[str | None, bool, Node]] = []
        while not self.accept("}"):
            if self.accept("["):
                self.word()
                self.take(":")
                self.take("string")
                self.take("]")
                name, is_optional = None, True
            else:
                kind, text = self.tokens.pop()
                if kind == "string":
                    name = json.loads(text)
                elif kind == "word":
                    name = text
                else:
                    raise SyntaxError(f"a property expected, not {text}")
                is_optional = self.accept("?")
            self.take(":")
            members.append((name, is_optional, self.type()))
            if not self.accept(","):
                self.take("}")
                break
        return Node("object", members)

    def tuple(self) -> Node:
        items: list[tuple[str, Node]] = []
        while not self.accept("]"):
            is_rest = self.accept("...")
            node = self.type()
            items.append(("rest" if is_rest else "optional" if self.accept("?") else "one", node))
            if not self.accept(","):
                self.take("]")
                break
        return Node("tuple", items)


def admits(node: Node, value: Any, declared: dict[str, Node]) -> bool:
    """Whether a JSON value is of a type; properties that the type does not name are free."""

    def fits(part: Node, inner: Any) -> bool:
        return admits(part, inner, declared)

    match node.kind:
        case "literal":
            return value == node.value and isinstance(value, bool) == isinstance(node.value, bool)
        case "name":
            return _is_of(node.value, value) if node.value in BUILT_IN else fits(declared[node.value], value)
        case "union":
            return any(fits(part, value) for part in node.parts)
        case "intersection":
            return all(fits(part, value) for part in node.parts)
        case "array":
            return isinstance(value, list) and all(fits(node.parts[0], item) for item in value)
        case "Array":
            return isinstance(value, list)
        case "tuple":
            return isinstance(value, list) and _fits_tuple(node, value, declared)
        case "Partial":
            return fits(node.parts[0], value)
        case "Record":
            keys, values = node.parts
            return isinstance(value, dict) and all(
                fits(keys, k) and fits(values, v) for k, v in value.items()
            )
        case "object":
            return isinstance(value, dict) and _fits_object(node, value, declared)
    raise ValueError(node.kind)


def _is_of(name: str, value: Any) -> bool:
    match name:
        case "any":
            return True
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "true" | "false":
            return value is (name == "true")
    return name == "null" and value is None


def _fits_tuple(node: Node, value: list[Any], declared: dict[str, Node]) -> bool:
    for index, (kind, part) in enumerate(node.parts):
        if kind == "rest":
            return admits(part, value[index:], declared)
        if index >= len(value):
            return kind == "optional"
        if not admits(part, value[index], declared):
            return False
    return len(value) <= len(node.parts)


def _fits_object(node: Node, value: dict[str, Any], declared: dict[str, Node]) -> bool:
    named = {name: (optional, part) for name, optional, part in node.parts if name is not None}
    others = [part for name, _, part in node.parts if name is None]
    return all(name in value or optional for name, (optional, _) in named.items()) and all(
        admits(named[name][1], inner, declared)
        if name in named
        else all(admits(part, inner, declared) for part in others)
        for name, inner in value.items()
    )
