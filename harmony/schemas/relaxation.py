"""From a schema to its mask: the same values, or more, said in the keywords that the compiler enforces.

A mask may allow too much, never too little, and it is known where: each keyword that it does not enforce is
among the residuals. The table `HOLDS` rewrites keywords that are to hold, `FAILS` those under `not` and `if`
that are not to; both give a schema of the same values, or of more and a residual. What a mask leaves out on
purpose is text and not values: orders of properties, `1.0` for the integer 1, escapes without need.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import (
    ANY_TYPE,
    Mask,
    Types,
    all_of,
    any_of,
    breadth,
    of_type,
    type_of,
    types_named,
)
from harmony.schemas.compiler import needed
from harmony.schemas.exclusive import exactly_one
from harmony.schemas.fails import FAILS
from harmony.schemas.holds import HOLDS, PLAIN
from harmony.schemas.node import Inexact, Node, Residual

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from harmony.schemas.document import Document

_WIDEST: Final = 256
"""The most alternatives into which the rewrites of one subschema may multiply out."""

_CHOICES: Final = frozenset(("anyOf", "oneOf"))

_TYPED: Final = _CHOICES | {"allOf", "$ref"}
"""Keywords of which a mask that leaves them out keeps the types that they allow."""

_DEEPEST: Final = 4
"""How many of them within each other are looked through for the types that they allow."""

_MOST_EFFORT: Final = 5_000
"""The most subschemas that are negated."""

_IN_ONE_PLACE: Final = (
    ("properties", "patternProperties", "additionalProperties"),
    ("prefixItems", "items", "additionalItems"),
)
"""Keywords that look at each other; the compiler reads them rightly only side by side."""

_GROUP: Final = {keyword: group for group in _IN_ONE_PLACE for keyword in group}


class Relaxation:
    """One pass over a document, which collects residuals and the definitions that references need."""

    def __init__(
        self,
        document: Document,
        conceded: Collection[Residual] = (),
        impossible: Collection[str] = (),
    ) -> None:
        """Leave the `conceded` keywords out; the definitions named in `impossible` hold for no value."""
        self.document = document
        self.residuals: dict[Residual, None] = {}
        self.definitions: dict[str, Mask] = {}
        self._conceded = frozenset(conceded)
        self._impossible = frozenset(impossible)
        self._failing: set[int] = set()
        self._attempts = 0
        self._effort = 0

    @property
    def root(self) -> Node:
        """The whole schema."""
        return Node(self, self.document.schema, self.document.scope, self.document.draft)

    def mask(self, node: Node | None = None) -> dict[str, Any]:
        """The mask of one node, by default the root, with the definitions that it needs."""
        mask = (node or self.root).holds()
        whole = {} if mask is True else {"enum": []} if mask is False else mask
        definitions = needed(whole, self.definitions)
        return whole | {"$defs": definitions} if definitions else whole

    def holds(self, node: Node) -> Mask:
        """See `Node.holds`."""
        if isinstance(node.schema, bool):
            return node.schema
        keywords = node.keywords
        node = node.narrowed(_types_of(node, keywords, depth=0))
        if not node.types:
            return False
        plain: dict[str, Any] = {}
        parts: list[Mask] = []
        width = 1
        for keyword in _ordered(keywords):
            value = keywords[keyword]
            if self._conceded and Residual(node.path, keyword) in self._conceded:
                node.miss(keyword)
                if keyword in _TYPED:
                    parts.append(of_type(_types_of(node, {keyword: value})))
            elif keyword in PLAIN:
                mask = HOLDS[keyword](node, value)
                if isinstance(mask, dict):
                    if not plain:
                        parts.append(plain)
                    plain |= mask
                elif not mask:
                    return False
            else:
                is_one_of = keyword == "oneOf"
                mask = (
                    exactly_one(node, value, _flat(plain, parts))
                    if is_one_of
                    else HOLDS[keyword](node, value)
                )
                if width * breadth(mask) > _WIDEST:
                    node.miss(keyword)
                    mask = of_type(_types_of(node, {keyword: value}))
                width *= breadth(mask)
                parts.append(mask)
        return _flat(plain, parts)

    def fails(self, node: Node) -> Mask:
        """See `Node.fails`."""
        if isinstance(node.schema, bool):
            return not node.schema
        self._effort += 1
        if id(node.schema) in self._failing or self._effort > _MOST_EFFORT:
            return node.miss(next(iter(node.keywords), "not"))
        self._failing.add(id(node.schema))
        keywords = node.keywords
        of_other_type = FAILS["type"](node, keywords["type"]) if "type" in keywords else False
        own = node.narrowed(types_named(keywords["type"]) if "type" in keywords else ANY_TYPE)
        parts = [FAILS[keyword](own, value) for keyword, value in keywords.items() if keyword != "type"]
        self._failing.discard(id(node.schema))
        return any_of([of_other_type, *parts])

    def definition(self, target: Node) -> Mask:
        """A reference to the mask of a subschema, which may lead back to itself."""
        if isinstance(target.schema, bool):
            return target.schema
        name = f"d{self.document.number(target.schema)}"
        if name not in self.definitions:
            self.definitions[name] = True
            apart = Node(self, target.schema, target.scope, target.draft)
            self.definitions[name] = name not in self._impossible and apart.holds()
        return self.definitions[name] is not False and {"$ref": f"#/$defs/{name}"}

    def sees(self, node: Node, *keywords: str) -> bool:
        """Whether the mask so far states these keywords of a node, as far as it has them."""
        return all(Residual(node.path, keyword) not in self.residuals for keyword in keywords)

    def note(self, residual: Residual) -> None:
        """Add a residual; in an attempt that must do without, raise `Inexact`."""
        if self._attempts and residual not in self.residuals:
            raise Inexact
        self.residuals[residual] = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A rewrite that must be exact, and of which nothing stays when `Inexact` ends it."""
        definitions, failing = dict(self.definitions), set(self._failing)
        self._attempts += 1
        try:
            yield
        except Inexact:
            self.definitions, self._failing = definitions, failing
            raise
        finally:
            self._attempts -= 1


def _types_of(node: Node, keywords: dict[str, Any], depth: int = _DEEPEST) -> Types:
    """The types that a value must have to satisfy these keywords of a node, or more; branches to a depth."""
    types = types_named(keywords["type"]) if "type" in keywords else ANY_TYPE
    if "const" in keywords:
        types &= {type_of(keywords["const"])}
    if "enum" in keywords:
        types &= frozenset(map(type_of, keywords["enum"]))
    for keyword in _CHOICES & keywords.keys() if depth else ():
        branches = (node.beside(branch).resolved() for branch in keywords[keyword])
        types &= frozenset[str]().union(*(_types_of(b, b.keywords, depth - 1) for b in branches))
    if depth:
        together = [node.beside(part).resolved() for part in keywords.get("allOf", ())]
        together += [node.target(keywords["$ref"]).resolved()] if "$ref" in keywords else []
        for part in together:
            types &= _types_of(part, part.keywords, depth - 1)
    return types


def _ordered(keywords: dict[str, Any]) -> Iterator[str]:
    """The keywords in their order, those that look at each other at the first of them, `oneOf` last."""
    done = {"oneOf"}
    for keyword in keywords:
        for member in _GROUP.get(keyword, (keyword,)):
            if member in keywords and member not in done:
                done.add(member)
                yield member
    if "oneOf" in keywords:
        yield "oneOf"


def _flat(plain: dict[str, Any], parts: list[Mask]) -> Mask:
    """All parts as one mask, in which plain keywords that come first stand beside `allOf`."""
    if not plain or parts[0] is not plain:
        return all_of(parts)
    rest = all_of(parts[1:])
    if isinstance(rest, bool):
        return rest and plain
    return plain | (rest if rest.keys() == {"allOf"} else {"allOf": [rest]})
