"""Whether a grammar lets a JSON value be written, in some order of its properties."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import llguidance

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = llguidance.LLTokenizer("byte")


class Exhausted(Exception):
    """More orders were tried than allowed."""


class Writer:
    """Attempts to write values as JSON under a schema; what accepts the text is the subclass's."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._left = 0

    def consume(self, text: str) -> int:
        """Accept a piece of text and say in how many steps; in 0 if it is refused, and nothing changes."""
        raise NotImplementedError

    def back(self, steps: int) -> None:
        """Take back the last steps."""
        raise NotImplementedError

    def is_complete(self) -> bool:
        """Whether the text may end here."""
        raise NotImplementedError

    def reset(self) -> None:
        """Take back all."""
        raise NotImplementedError

    def accepts_text(self, text: str) -> bool:
        """Whether this text and its end are accepted."""
        accepted = bool(self.consume(text)) and self.is_complete()
        self.reset()
        return accepted

    def text(self, value: Any, *, attempts: int = 2_000) -> str | None:
        """A text of the value that is accepted, or None: as it is, in the schema's order, in others.

        Raises `Exhausted` if this takes more attempts.
        """
        for ordered in (value, in_order(value, self._schema)):
            text = json.dumps(ordered, ensure_ascii=False)
            if self.accepts_text(text):
                return text
        self._left = attempts
        for text in self._written(value):
            if self.is_complete():
                self.reset()
                return text
        self.reset()
        return None

    def _piece(self, text: str) -> Iterator[str]:
        self._left -= 1
        if self._left < 0:
            self.reset()
            raise Exhausted
        if steps := self.consume(text):
            yield text
            self.back(steps)

    def _written(self, value: Any) -> Iterator[str]:
        """Each way to write the value from here on; the matcher stands behind it while it is out."""
        if isinstance(value, dict) and value:
            for start in self._piece("{"):
                yield from (start + rest for rest in self._members_written(value, [*value]))
        elif isinstance(value, list) and value:
            for start in self._piece("["):
                yield from (start + rest for rest in self._items_written(value))
        else:
            yield from self._piece(json.dumps(value, ensure_ascii=False))

    def _items_written(self, items: list[Any]) -> Iterator[str]:
        for first in self._written(items[0]):
            for mark in self._piece("," if items[1:] else "]"):
                rests = self._items_written(items[1:]) if items[1:] else [""]
                yield from (first + mark + rest for rest in rests)

    def _members_written(self, members: dict[str, Any], names: list[str]) -> Iterator[str]:
        for name in names:
            others = [other for other in names if other != name]
            for key in self._piece(f"{json.dumps(name, ensure_ascii=False)}:"):
                for value in self._written(members[name]):
                    for mark in self._piece("," if others else "}"):
                        rests = self._members_written(members, others) if others else [""]
                        yield from (key + value + mark + rest for rest in rests)


class MaskWriter(Writer):
    """Writes under a mask of llguidance, by default byte by byte."""

    def __init__(self, mask: str, tokenizer: llguidance.LLTokenizer = BYTES) -> None:
        super().__init__(json.loads(mask))
        grammar = llguidance.LLMatcher.grammar_from_json_schema(mask)
        self._tokenizer = tokenizer
        self._matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())

    def accepts_prefix(self, text: str) -> bool:
        """Whether the mask accepts this text and something after it."""
        tokens = self._tokenizer.tokenize_str(text)
        return self._matcher.validate_tokens(tokens) == len(tokens)

    def consume(self, text: str) -> int:
        """See `Writer.consume`."""
        tokens = self._tokenizer.tokenize_str(text)
        done = self._matcher.try_consume_tokens(tokens)
        if done < len(tokens):
            self.back(done)
            return 0
        return done

    def back(self, steps: int) -> None:
        """See `Writer.back`."""
        if steps:
            self._matcher.rollback(steps)

    def is_complete(self) -> bool:
        """See `Writer.is_complete`."""
        return self._matcher.is_accepting()

    def reset(self) -> None:
        """See `Writer.reset`."""
        self._matcher.reset()


def in_order(value: Any, schema: Any) -> Any:
    """The value with its properties in the order in which its schema names them."""
    return _in_order(value, [schema], schema)


def _in_order(value: Any, schemas: list[Any], root: Any) -> Any:
    schemas = [*_beside(schemas, root)]
    if isinstance(value, list):
        return [_in_order(item, [*_items(schemas, place)], root) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    order = dict.fromkeys(name for schema in schemas for name in schema.get("properties", ()))
    order |= dict.fromkeys(name for schema in schemas for name in schema.get("required", ()))
    ranks = {name: rank for rank, name in enumerate(order)}
    return {
        name: _in_order(value[name], [*_members(schemas, name)], root)
        for name in sorted(value, key=lambda name: ranks.get(name, len(ranks)))
    }


def _beside(schemas: list[Any], root: Any) -> Iterator[dict[str, Any]]:
    """All schemas that may hold for the same value, references within the root resolved."""
    seen: set[int] = set()
    waiting = schemas[::-1]
    while waiting:
        schema = waiting.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        yield schema
        below = [part for keyword in ("allOf", "anyOf", "oneOf") for part in schema.get(keyword, ())]
        if isinstance(schema.get("$ref"), str):
            below.append(_at(root, schema["$ref"]))
        waiting += below[::-1]


def _at(root: Any, reference: str) -> Any:
    """What a JSON pointer leads to, or None."""
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _members(schemas: list[dict[str, Any]], name: str) -> Iterator[Any]:
    for schema in schemas:
        yield schema.get("properties", {}).get(name)
        yield from schema.get("patternProperties", {}).values()
        yield schema.get("additionalProperties")


def _items(schemas: list[dict[str, Any]], place: int) -> Iterator[Any]:
    for schema in schemas:
        items = schema.get("items")
        yield from (schema.get("prefixItems") or (items if isinstance(items, list) else []))[
            place : place + 1
        ]
        yield items
