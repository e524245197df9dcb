"""The veto: says of JSON, as it is written, when it breaks what the mask does not enforce.

The sampler takes back the token that a veto objects to and draws another; the veto itself has then not moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony.schemas.growing import GrowingJson, Named, NotJson
from harmony.schemas.values import identity
from harmony.schemas.watch import Place, inside

if TYPE_CHECKING:
    from jsonschema import ValidationError

    from harmony.schemas.checker import Checker
    from harmony.schemas.growing import Closed, Path
    from harmony.schemas.watch import Watch


@dataclass(frozen=True, slots=True)
class Violation:
    """A value that breaks its schema.

    `path` leads to the value by names of properties and indices of items; `keyword` is the one that it
    breaks, or `json` for text that is no JSON or goes beyond what is read (depth, size of a number).
    """

    path: Path
    keyword: str
    message: str


class Veto:
    """An answer as far as it has been written."""

    def __init__(self, watch: Watch | None, checker: Checker | None) -> None:
        self._watch = watch
        self._checker = checker
        self._growing = GrowingJson()

    def copy(self) -> Veto:
        """The same answer so far, to go on differently; costs next to nothing."""
        twin = Veto(self._watch, self._checker)
        twin._growing = self._growing.copy()
        return twin

    def advance(self, text: str) -> Violation | None:
        """Read the next piece; if it breaks the schema, say how and stay before it."""
        return self._read(text)

    def finish(self) -> Violation | None:
        """Read the end of the answer, which is what a number that stands alone needs."""
        return self._read(None)

    def _read(self, text: str | None) -> Violation | None:
        if self._watch is None or self._checker is None:
            return None
        growing = self._growing.copy()
        try:
            events = growing.finish() if text is None else growing.feed(text)
        except NotJson as error:
            return Violation((), "json", f"This is not JSON that can be read: {error}.")
        for event in events:
            if violation := self._violation(event, self._watch, self._checker):
                return violation
        self._growing = growing
        return None

    def _violation(self, event: Named | Closed, watch: Watch, checker: Checker) -> Violation | None:
        around: tuple[Place, ...] = ()
        places = watch.root
        for step in event.path:
            around, places = places, inside(places, step)
        if isinstance(event, Named):
            name = event.path[-1]
            for place in around:
                if place.names is not None and (error := checker.error(place.names, name)):
                    return Violation(event.path, "propertyNames", error.message)
            return None
        if event.earlier is not None and any(place.unique for place in around):
            mine = identity(event.value)
            if isinstance(event.path[-1], int) and any(identity(item) == mine for item in event.earlier):
                return Violation(event.path, "uniqueItems", "The item repeats an earlier one.")
        for place in places:
            if place.is_checked and (error := checker.error(place.schema, event.value)):
                return _violation(event, error)
        return None


def _violation(event: Closed, error: ValidationError) -> Violation:
    path = (*event.path, *error.absolute_path)
    return Violation(path, str(error.validator), error.message)
