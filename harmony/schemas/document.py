"""A schema as a document: its draft, its subschemas, where they stand, and where its references lead.

Drafts 4, 6, 7, 2019-09 and 2020-12 are known. Without `$schema` a schema is read as 2020-12 unless it has
an array of `items` (2019-09) or a boolean `exclusiveMinimum` (draft 4). Nothing is ever fetched: a reference
leads into the schema itself or to the metaschemas that come with jsonschema.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft4Validator, Draft201909Validator, Draft202012Validator
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from harmony.errors import SchemaError, SchemaUnsupportedError
from harmony.schemas.keywords import DRAFTS, NAMES, Draft, check_shape, escaped, known_keywords, subschemas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from referencing import Registry, Resource
    from referencing._core import Resolver

    from harmony.schemas.algebra import Schema

ROOT: Final = "#"
METASCHEMAS: Final[Registry[Schema]] = REGISTRY
"""The schemas of the drafts themselves, which come with the library."""

_JSON: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
_DEFINITIONS: Final = ("$defs", "definitions")
_NESTED: Final = (dict, list)


def as_json(schema: bool | Mapping[str, object]) -> str:
    """The schema as JSON; raises `SchemaError` for what is no JSON."""
    try:
        text = _JSON.encode(schema)
        text.encode()
    except (TypeError, ValueError) as error:
        raise SchemaError(f"The schema is not plain JSON ({error}); correct it.", path=ROOT) from error
    return text


class Document:
    """A schema, its draft, its subschemas and its references."""

    def __init__(self, text: str) -> None:
        """Read a schema from JSON, so that no part of it stands at two places.

        Raises `SchemaError` for what is no schema, `SchemaUnsupportedError` for other drafts.
        """
        self.schema: Schema = json.loads(text)
        placed = list(_objects(self.schema, ROOT))
        self.objects = [part for _, part in placed]
        """Every object in the document, be it a subschema or not."""
        self.draft = _draft(self.schema, self.objects)
        self._paths = {id(part): path for path, part in placed}
        self._numbers = {id(part): number for number, part in enumerate(self.objects)}
        self._checked: set[int] = set()
        self.check(self.schema, ROOT, self.draft)
        self.scope = METASCHEMAS.resolver_with_root(self.resource(self.schema, self.draft))

    def resource(self, schema: Schema, draft: Draft) -> Resource[Schema]:
        """A subschema as the library for references takes it."""
        return specification_with(NAMES[draft]).create_resource(schema)

    def draft_of(self, node: dict[str, Any], around: Draft) -> Draft:
        """The draft of a subschema, which may name its own."""
        return DRAFTS.get(str(node["$schema"]).removesuffix("#"), around) if "$schema" in node else around

    def path(self, node: Schema) -> str:
        """Where a subschema stands; the metaschemas stand outside."""
        return self._paths.get(id(node), "")

    def number(self, node: dict[str, Any]) -> int:
        """The place of an object of the document among all."""
        return self._numbers[id(node)]

    def is_subschema(self, part: dict[str, Any]) -> bool:
        """Whether an object of the document has been read as a schema, in its place or by a reference."""
        return id(part) in self._checked

    def lookup(
        self, reference: str, scope: Resolver[Schema], draft: Draft, path: str
    ) -> tuple[Schema, Resolver[Schema]]:
        """The subschema that a reference names and its scope; raises `SchemaUnsupportedError`."""
        try:
            resolved = scope.lookup(reference)
        except (Unresolvable, ValueError) as error:
            raise SchemaUnsupportedError(
                f"{path}/$ref leads to {reference!r}, which is not in the schema; put it into $defs.",
                path=path,
                keyword="$ref",
            ) from error
        self.check(resolved.contents, self.path(resolved.contents) or reference, draft)
        return resolved.contents, resolved.resolver

    def check(self, schema: Schema, path: str, draft: Draft) -> None:
        """Check a subschema and all below it once; raises `SchemaError`."""
        waiting = [(schema, path, draft)]
        while waiting:
            node, here, around = waiting.pop()
            if isinstance(node, bool) or id(node) in self._checked:
                continue
            if not isinstance(node, dict):
                raise SchemaError(
                    f"{here} is neither an object nor a boolean; correct the schema.", path=here
                )
            self._checked.add(id(node))
            around = self.draft_of(node, around)
            known = known_keywords(around)
            for keyword, value in node.items():
                if keyword in known or keyword in _DEFINITIONS:
                    check_shape(keyword, value, here, around)
                    waiting += [
                        (part, f"{here}/{keyword}{rest}", around) for rest, part in subschemas(keyword, value)
                    ]


def _draft(schema: Schema, objects: Sequence[dict[str, Any]]) -> Draft:
    if isinstance(schema, bool):
        return Draft202012Validator
    if not isinstance(schema, dict):
        raise SchemaError("The schema is neither an object nor a boolean; correct it.", path=ROOT)
    if "$schema" in schema:
        named = str(schema["$schema"]).removesuffix("#")
        if named not in DRAFTS:
            raise SchemaUnsupportedError(
                f"#/$schema names {named!r}; name one of {', '.join(DRAFTS)}, or none.",
                path=ROOT,
                keyword="$schema",
            )
        return DRAFTS[named]
    if not any(map(_looks_old, objects)):
        return Draft202012Validator
    has_list_of_items = False
    for node in _subschemas(schema):
        if any(isinstance(node.get(keyword), bool) for keyword in ("exclusiveMinimum", "exclusiveMaximum")):
            return Draft4Validator
        has_list_of_items = has_list_of_items or isinstance(node.get("items"), list)
    return Draft201909Validator if has_list_of_items else Draft202012Validator


def _looks_old(part: dict[str, Any]) -> bool:
    """Whether an object, if it is a subschema, is one of a draft before 2020-12."""
    return (
        isinstance(part.get("items"), list)
        or isinstance(part.get("exclusiveMinimum"), bool)
        or isinstance(part.get("exclusiveMaximum"), bool)
    )


def _subschemas(schema: Schema) -> Iterator[dict[str, Any]]:
    """The subschemas that are objects, whatever they look like."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += [part for keyword, value in node.items() for _, part in subschemas(keyword, value)]


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object within a JSON value, and where it stands."""
    waiting = [(path, value)]
    while waiting:
        here, part = waiting.pop()
        if isinstance(part, dict):
            yield here, part
            waiting += [
                (f"{here}/{escaped(name)}", member)
                for name, member in part.items()
                if isinstance(member, _NESTED)
            ]
        elif isinstance(part, list):
            members = enumerate(part)
            waiting += [(f"{here}/{at}", member) for at, member in members if isinstance(member, _NESTED)]
