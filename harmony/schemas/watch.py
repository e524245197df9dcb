"""Where in a value the residuals apply, so that each is checked as soon as the value in question closes.

A place is a subschema that holds for a value whatever that value is: the root, what `allOf` and `$ref` add,
the subschemas of its properties and items. A residual at a place is checked there. One below `anyOf`, `not`,
`if` and the like, which holds for some values only, is checked at the place that these belong to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.patterns import in_python
from harmony.schemas.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from harmony.schemas.algebra import Schema
    from harmony.schemas.document import Document
    from harmony.schemas.node import Node, Residual

_MEMBERS: Final = frozenset(
    ("properties", "patternProperties", "additionalProperties", "prefixItems", "items", "additionalItems")
)
_WITHOUT_CONDITION: Final = _MEMBERS | {"allOf", "$ref"}
_DYNAMIC: Final = frozenset(("$dynamicRef", "$recursiveRef"))
_EARLY: Final = frozenset(("uniqueItems", "propertyNames"))


@dataclass(slots=True, eq=False)
class Place:
    """What is to be checked of a value by one subschema, and the places of its members."""

    schema: Schema
    is_checked: bool = False
    """Whether the value is checked when it closes."""
    unique: bool = False
    """Whether each item is compared with those before it."""
    names: Schema | None = None
    """What each name of a property is checked by."""
    also: list[Place] = field(default_factory=list)
    """Other subschemas for the same value."""
    properties: dict[str, Place] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], Place | None]] = field(default_factory=list)
    additional: Place | None = None
    prefix: list[Place | None] = field(default_factory=list)
    items: Place | None = None
    named: frozenset[str] = frozenset()

    def members(self, step: str | int) -> Iterator[Place]:
        """The places of a property or item."""
        if isinstance(step, int):
            place = self.prefix[step] if step < len(self.prefix) else self.items
            if place is not None:
                yield place
            return
        if step in self.properties:
            yield self.properties[step]
        matching = [place for expression, place in self.patterns if expression.search(step)]
        yield from (place for place in matching if place is not None)
        if self.additional is not None and not matching and step not in self.named:
            yield self.additional


class Watch:
    """The places of a document at which residuals apply."""

    def __init__(self, document: Document, residuals: Collection[Residual]) -> None:
        """Raises `SchemaUnsupportedError` for a reference that leads out of the schema."""
        self._document = document
        self._residuals: dict[str, set[str]] = {}
        for residual in residuals:
            self._residuals.setdefault(residual.path, set()).add(residual.keyword)
        self._places: dict[int, Place] = {}
        root = Relaxation(document).root
        self._concerned = self._concerning(root)
        if any(residual.keyword in _DYNAMIC for residual in residuals):
            # Where such a reference leads depends on all that was passed through on the way from the root.
            self.root: tuple[Place, ...] = (Place(document.schema, is_checked=True),)
        else:
            self.root = _together([self._place(root)])

    def _concerning(self, root: Node) -> set[int]:
        """The subschemas, by identity, that have a residual or lead to one that does."""
        concerned: set[int] = set()
        leading: dict[int, list[int]] = {}
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if isinstance(node.schema, bool) or id(node.schema) in seen:
                continue
            seen.add(id(node.schema))
            if node.path in self._residuals:
                concerned.add(id(node.schema))
            for keyword in node.keywords:
                for part in node.parts(keyword):
                    leading.setdefault(id(part.schema), []).append(id(node.schema))
                    waiting.append(part)
        spreading = list(concerned)
        while spreading:
            for above in leading.get(spreading.pop(), ()):
                if above not in concerned:
                    concerned.add(above)
                    spreading.append(above)
        return concerned

    def _place(self, node: Node) -> Place | None:
        """The place of a subschema, if a residual is of concern to it."""
        if id(node.schema) not in self._concerned:
            return None
        if id(node.schema) in self._places:
            return self._places[id(node.schema)]
        place = self._places[id(node.schema)] = Place(node.schema)
        own = self._residuals.get(node.path, set())
        place.unique = "uniqueItems" in own
        for keyword, value in node.keywords.items():
            parts = node.parts(keyword)
            if keyword == "propertyNames" and (keyword in own or self._concerns(parts)):
                place.names = value
            elif keyword in own - _EARLY or (keyword not in _WITHOUT_CONDITION and self._concerns(parts)):
                place.is_checked = True
            elif keyword in ("allOf", "$ref"):
                place.also += [found for part in parts if (found := self._place(part))]
            elif keyword in _MEMBERS:
                self._add_members(place, node, keyword, value)
        return place

    def _concerns(self, parts: list[Node]) -> bool:
        return any(id(part.schema) in self._concerned for part in parts)

    def _add_members(self, place: Place, node: Node, keyword: str, value: Any) -> None:
        """The places of properties or items that a keyword is about."""
        if keyword == "properties":
            place.named = frozenset(value)
            found = {name: self._place(node.inner(part)) for name, part in value.items()}
            place.properties = {name: member for name, member in found.items() if member}
        elif keyword == "patternProperties":
            place.patterns = [
                (re.compile(in_python(name)), self._place(node.inner(part))) for name, part in value.items()
            ]
        elif keyword == "additionalProperties":
            place.additional = self._place(node.inner(value))
        elif isinstance(value, list):
            place.prefix = [self._place(node.inner(part)) for part in value]
        elif keyword == "items" or isinstance(node.keywords.get("items"), list):
            place.items = self._place(node.inner(value))


def inside(places: tuple[Place, ...], step: str | int) -> tuple[Place, ...]:
    """The places of a member of the value at some places."""
    return _together([member for place in places for member in place.members(step)])


def _together(places: list[Place | None]) -> tuple[Place, ...]:
    """Some places, and all others for the same value."""
    found: dict[int, Place] = {}
    waiting = list(places)
    while waiting:
        place = waiting.pop()
        if place is not None and id(place) not in found:
            found[id(place)] = place
            waiting += place.also
    return tuple(found.values())
