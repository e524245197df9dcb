"""A schema made enforceable: its mask, and the residuals that a veto has to enforce."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harmony.errors import SchemaError, SchemaUnsupportedError
from harmony.memo import Memo
from harmony.schemas.checker import Checker
from harmony.schemas.compiler import (
    LARGEST_PLAIN,
    complaint,
    impossible_definition,
    says_empty,
    with_options,
)
from harmony.schemas.document import ROOT, Document, as_json
from harmony.schemas.node import REFERENCES, Residual
from harmony.schemas.plain import plain_mask
from harmony.schemas.recursion import endless, refuse_loops
from harmony.schemas.relaxation import Relaxation
from harmony.schemas.veto import Veto
from harmony.schemas.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harmony.schemas.node import Node


@dataclass(frozen=True, slots=True, eq=False)
class EnforcedSchema:
    """What enforces a schema while decoding: a mask, and a veto for what the mask leaves over."""

    mask: str
    """What the grammar enforces: the body of a `%json` block, `x-guidance` and all."""
    residuals: tuple[Residual, ...]
    _watch: Watch | None
    _checker: Checker | None

    def veto(self) -> Veto:
        """A new reader of one answer, which objects to what breaks a residual."""
        return Veto(self._watch, self._checker)


def enforce(schema: bool | Mapping[str, object], *, strict: bool = False) -> EnforcedSchema:
    """Make a schema enforceable; of the schemas asked for lately, the result is remembered.

    Raises `SchemaError` for what is no schema or has no value, and `SchemaUnsupportedError` for references
    that lead out of it; with `strict`, for every keyword too that the mask alone does not enforce.
    """
    try:
        enforced = _ENFORCED[as_json(schema)]
    except RecursionError as error:
        raise SchemaError("The schema is nested too deeply; make it flatter.", path=ROOT) from error
    if strict and enforced.residuals:
        first, count = enforced.residuals[0], len(enforced.residuals)
        raise SchemaUnsupportedError(
            f"{first.path}/{first.keyword} cannot be enforced by the mask alone; leave it out, or do not ask "
            f"for strict enforcement ({count} such keyword{'s' if count > 1 else ''}).",
            path=first.path,
            keyword=first.keyword,
        )
    return enforced


def _enforced(text: str) -> EnforcedSchema:
    plain = plain_mask(json.loads(text))
    if isinstance(plain, dict) and len(written := with_options(plain)) < LARGEST_PLAIN:
        return EnforcedSchema(written, (), None, None)
    document = Document(text)
    if not all(map(REFERENCES.isdisjoint, document.objects)):
        refuse_loops(Relaxation(document).root)
    relaxation, mask = _compiled(document)
    residuals = tuple(sorted(relaxation.residuals))
    return EnforcedSchema(
        with_options(mask),
        residuals,
        Watch(document, residuals) if residuals else None,
        Checker(document) if residuals else None,
    )


_ENFORCED: Final = Memo(
    _enforced, size=lambda text, enforced: len(text) + len(enforced.mask), capacity=16_000_000
)


_SUSPECTS: Final = (
    "pattern",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "multipleOf",
    "oneOf",
    "not",
    "if",
    "dependencies",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$ref",
)
"""The keywords to concede before all others when the compiler refuses a subschema."""


def _compiled(document: Document) -> tuple[Relaxation, dict[str, Any]]:
    """A relaxation whose mask the compiler takes: it concedes what the compiler refuses."""
    conceded: set[Residual] = set()
    impossible: set[str] = set()
    while True:
        relaxation = Relaxation(document, conceded, impossible)
        mask = relaxation.mask()
        if unending := endless(mask.get("$defs", {})) - impossible:
            impossible |= unending
            continue
        said = complaint(mask)
        if said is None:
            return relaxation, mask
        if says_empty(said):
            raise SchemaError("No value satisfies the schema; correct it.", path=ROOT)
        if name := impossible_definition(said):
            impossible.add(name)
            continue
        more = _refused(document, conceded, impossible)
        if not more - conceded:
            raise SchemaUnsupportedError(
                f"The grammar compiler refuses the schema: {said.splitlines()[0]}.", path=ROOT, keyword=""
            )
        conceded |= more


def _refused(document: Document, conceded: set[Residual], impossible: set[str]) -> set[Residual]:
    """The keywords to concede at the smallest subschema that the compiler refuses."""

    def is_refused(node: Node, *more: Residual) -> bool:
        relaxation = Relaxation(document, conceded | set(more), impossible)
        said = complaint(relaxation.mask(node.within(relaxation)))
        return said is not None and not says_empty(said) and impossible_definition(said) is None

    def smallest(node: Node) -> set[Residual]:
        if not is_refused(node):
            return set()
        for below in node.below():
            if found := smallest(below):
                return found
        keywords = sorted(node.keywords, key=lambda name: _SUSPECTS.index(name) if name in _SUSPECTS else 99)
        residuals = [Residual(node.path, keyword) for keyword in keywords]
        for residual in residuals:
            if not is_refused(node, residual):
                return {residual}
        return set(residuals)

    return smallest(Relaxation(document).root)
