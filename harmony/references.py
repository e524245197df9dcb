"""The references within a JSON schema: what each leads to, and whether others lead there too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Place = tuple[str, ...]
"""The steps from the root of a schema to a part of it."""


class References:
    """What the references in a schema lead to."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._uses = Counter(place_of(reference) for reference in references_in(schema))

    def at(self, place: Place) -> Any:
        """The part at a place; None if there is none."""
        part = self._schema
        for step in place:
            if isinstance(part, list) and step.isdecimal() and int(step) < len(part):
                part = part[int(step)]
            else:
                part = part.get(step) if isinstance(part, dict) else None
        return part

    def is_shared(self, place: Place) -> bool:
        """Whether a part is used more than once, as one that contains itself is.

        What is no definition apart from the rest is used where it stands, beside the references to it.
        """
        is_definition = len(place) == 2 and place[0] in ("$defs", "definitions")
        return self._uses[place] + (not is_definition) > 1


def place_of(reference: str) -> Place | None:
    """The place that a JSON pointer names; None for a reference out of this schema."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    steps = unquote(reference[1:]).split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def references_in(schema: Any) -> Iterator[str]:
    """Every reference, at any depth."""
    if isinstance(schema, dict):
        for key, member in schema.items():
            if key == "$ref" and isinstance(member, str):
                yield member
            else:
                yield from references_in(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from references_in(member)
