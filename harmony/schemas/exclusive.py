"""`oneOf`: `anyOf` where the branches exclude each other, and otherwise each branch without the others."""

from __future__ import annotations

import json
from itertools import combinations
from math import prod
from typing import TYPE_CHECKING, Any, Final

from harmony.schemas.algebra import Mask, Schema, Types, all_of, any_of, breadth, of_type, types_named
from harmony.schemas.compiler import is_empty
from harmony.schemas.node import Inexact
from harmony.schemas.values import identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.schemas.node import Node

_MOST_PAIRS: Final = 200
"""The most pairs of branches that the compiler is asked about."""

_LARGEST_PAIR: Final = 250_000
"""The largest product of the lengths of two masks that it is asked about: it multiplies out their choices."""

_WIDEST: Final = 64
"""The most alternatives into which branches without the others may multiply out."""


def exactly_one(node: Node, branches: list[Schema], siblings: Mask) -> Mask:
    """Values for which exactly one branch holds.

    Masks hold for more values than their branches, so branches whose masks have no value in common beside
    the siblings exclude each other, and if all do, one holds if any does. Of those that may overlap, one
    holds alone if it holds and each of the others fails.
    """
    nodes = [node.beside(branch) for branch in branches]
    masks = [branch.holds() for branch in nodes]
    try:
        with node.relaxation.attempt():
            failing: list[list[Mask]] = [[] for _ in nodes]
            for first, second in _overlapping(node, masks, siblings):
                failing[first].append(nodes[second].fails())
                failing[second].append(nodes[first].fails())
                if sum(prod(map(breadth, others)) for others in failing) > _WIDEST:
                    raise Inexact
            return any_of(all_of((mask, *others)) for mask, others in zip(masks, failing, strict=True))
    except Inexact:
        node.miss("oneOf")
        return all_of((of_type(node.types - _held_twice(node, nodes)), any_of(masks)))


def _held_twice(node: Node, branches: list[Node]) -> Types:
    """The types of which each value satisfies two branches or more, as numbers do those of `required`."""
    return frozenset(
        atom
        for atom in node.types
        if sum(_holds_throughout(branch.narrowed(frozenset((atom,)))) for branch in branches) > 1
    )


def _holds_throughout(branch: Node) -> bool:
    """Whether it is known that a branch holds for all values of its types."""
    try:
        with branch.relaxation.attempt():
            return branch.fails() is False
    except Inexact:
        return False


def _overlapping(node: Node, masks: list[Mask], siblings: Mask) -> Iterator[tuple[int, int]]:
    """The pairs of branches that are not known to exclude each other."""
    definitions = node.relaxation.definitions
    sizes = [len(json.dumps(mask)) for mask in masks]
    asked = 0
    for first, second in combinations([index for index, mask in enumerate(masks) if mask is not False], 2):
        if _are_told_apart(masks[first], masks[second], definitions):
            continue
        asked += 1
        if (
            asked > _MOST_PAIRS
            or sizes[first] * sizes[second] > _LARGEST_PAIR
            or not is_empty(all_of((siblings, masks[first], masks[second])), definitions)
        ):
            yield first, second


def _are_told_apart(first: Mask, second: Mask, definitions: dict[str, Mask]) -> bool:
    """Whether two masks name other types, other constants, or a required property that tells them apart."""
    one, other = _resolved(first, definitions), _resolved(second, definitions)
    if "type" in one and "type" in other and not types_named(one["type"]) & types_named(other["type"]):
        return True
    if (choices := _constants(one)) is not None and (others := _constants(other)) is not None:
        return not choices & others
    if one.get("type") != "object" or other.get("type") != "object":
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    return any(
        _are_told_apart(one["properties"][name], other["properties"][name], definitions)
        for name in shared & one.get("properties", {}).keys() & other.get("properties", {}).keys()
    )


def _resolved(mask: Mask, definitions: dict[str, Mask]) -> dict[str, Any]:
    for _ in definitions:
        if isinstance(mask, bool) or mask.keys() != {"$ref"}:
            break
        mask = definitions[mask["$ref"].removeprefix("#/$defs/")]
    return mask if isinstance(mask, dict) else {}


def _constants(mask: dict[str, Any]) -> frozenset[Any] | None:
    listed = mask.get("enum", [mask["const"]] if "const" in mask else None)
    return None if listed is None else frozenset(map(identity, listed))
