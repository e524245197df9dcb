"""A subschema in its place: where it stands, its draft, its references, the types possible there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import ANY_TYPE, Mask, Schema, Types
from harmony.schemas.document import ROOT
from harmony.schemas.keywords import Draft, ignores_siblings_of_ref, known_keywords, subschemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from referencing._core import Resolver

    from harmony.schemas.relaxation import Relaxation

REFERENCES: Final = frozenset(("$ref", "$dynamicRef", "$recursiveRef"))
_LONGEST_CHAIN: Final = 8
"""The most references in a row that are followed to look at what is there."""


@dataclass(frozen=True, slots=True, order=True)
class Residual:
    """A keyword that the mask does not enforce, and the JSON pointer of the subschema that has it."""

    path: str
    keyword: str


class Inexact(Exception):
    """A rewrite that was to be exact is not; caught where it was attempted."""


class Node:
    """A subschema, as the rewrites see it."""

    def __init__(
        self,
        relaxation: Relaxation,
        schema: Schema,
        scope: Resolver[Schema],
        draft: Draft,
        types: Types = ANY_TYPE,
    ) -> None:
        """`scope` resolves references, the `$id` of the schema included; `draft` is that around it."""
        document = relaxation.document
        self.relaxation = relaxation
        self.schema = schema
        self.scope = scope
        self.draft = draft if isinstance(schema, bool) else document.draft_of(schema, draft)
        self.types = types
        self.path = document.path(schema) or ROOT

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The keywords that count in this draft."""
        if isinstance(self.schema, bool):
            return {}
        if "$ref" in self.schema and ignores_siblings_of_ref(self.draft):
            return {"$ref": self.schema["$ref"]}
        known = known_keywords(self.draft)
        return {keyword: value for keyword, value in self.schema.items() if keyword in known}

    def inner(self, schema: Schema, types: Types = ANY_TYPE) -> Node:
        """A subschema for another value, within the one that this node is for."""
        scope = self.scope
        if isinstance(schema, dict) and ("$id" in schema or "id" in schema):
            document = self.relaxation.document
            scope = scope.in_subresource(document.resource(schema, document.draft_of(schema, self.draft)))
        return Node(self.relaxation, schema, scope, self.draft, types)

    def beside(self, schema: Schema) -> Node:
        """A subschema for the same value."""
        return self.inner(schema, self.types)

    def parts(self, keyword: str) -> list[Node]:
        """The subschemas to which a keyword leads, within the document."""
        value = self.keywords[keyword]
        if keyword in REFERENCES:
            target = self.target(value)
            return [target] if self.relaxation.document.path(target.schema) else []
        return [self.inner(part) for _, part in subschemas(keyword, value)]

    def target(self, reference: str) -> Node:
        """The subschema for the same value that a reference names; raises `SchemaUnsupportedError`."""
        found, scope = self.relaxation.document.lookup(reference, self.scope, self.draft, self.path)
        return Node(self.relaxation, found, scope, self.draft, self.types)

    def narrowed(self, types: Types) -> Node:
        """This node where fewer types are possible."""
        if self.types <= types:
            return self
        twin = self._twin()
        twin.types = self.types & types
        return twin

    def within(self, relaxation: Relaxation) -> Node:
        """This node in another pass over the same document."""
        twin = self._twin()
        twin.relaxation = relaxation
        return twin

    def below(self) -> Iterator[Node]:
        """The subschemas of this one, definitions among them."""
        if isinstance(self.schema, dict):
            for keyword, value in self.schema.items():
                for _, part in subschemas(keyword, value):
                    yield self.inner(part)

    def resolved(self) -> Node:
        """Where this node leads if it is a mere reference, else itself."""
        node = self
        for _ in range(_LONGEST_CHAIN):
            if node.keywords.keys() != {"$ref"}:
                break
            node = node.target(node.keywords["$ref"])
        return node

    def holds(self) -> Mask:
        """The values for which this node holds, or more values and residuals."""
        return self.relaxation.holds(self)

    def fails(self) -> Mask:
        """The values, of the possible types, for which this node fails, or more values and residuals."""
        return self.relaxation.fails(self)

    def _twin(self) -> Node:
        twin = Node.__new__(Node)  # what copy() does, in a fifth of the time
        twin.__dict__.update(self.__dict__)
        return twin

    def miss(self, keyword: str) -> Mask:
        """Note that the mask does not enforce a keyword of this node; True, as if it always held."""
        self.relaxation.note(Residual(self.path, keyword))
        return True
