"""JSON from outside, read step by step, so that an error can name the place where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Located:
    """A JSON value and the path that leads to it.

    >>> Located({"messages": [{"role": "user"}]}, "")["messages"].elements()[0]["role"]
    Located(value='user', path='messages[0].role')
    """

    value: object
    path: str

    def __getitem__(self, key: str) -> Located:
        """A member that must be there and not be null. Raises ConversionError."""
        member = self.get(key)
        if member is None:
            raise ConversionError(self._path_of(key), "is missing")
        return member

    def get(self, key: str) -> Located | None:
        """A member, or None where it is absent or null. Raises ConversionError if this is no object."""
        value = self.members().get(key)
        return None if value is None else Located(value, self._path_of(key))

    def get_text(self, key: str) -> str | None:
        """The text of a member, or None where it is absent or null. Raises ConversionError."""
        member = self.get(key)
        return None if member is None else member.text()

    def get_elements(self, key: str) -> list[Located]:
        """The elements of a member, none where it is absent or null. Raises ConversionError."""
        member = self.get(key)
        return [] if member is None else member.elements()

    def members(self) -> Mapping[str, object]:
        """This as an object. Raises ConversionError if it is none."""
        if type(self.value) is not dict and not isinstance(self.value, Mapping):  # known in less time
            raise self.error(f"must be an object, not {_kind(self.value)}")
        return self.value

    def elements(self) -> list[Located]:
        """The elements of this list. Raises ConversionError if it is none."""
        if isinstance(self.value, str | bytes) or not isinstance(self.value, Sequence):
            raise self.error(f"must be a list, not {_kind(self.value)}")
        return [Located(element, f"{self.path}[{index}]") for index, element in enumerate(self.value)]

    def text(self) -> str:
        """This as a string. Raises ConversionError if it is none."""
        if not isinstance(self.value, str):
            raise self.error(f"must be a string, not {_kind(self.value)}")
        return self.value

    def error(self, problem: str) -> ConversionError:
        """What is wrong here, to be raised."""
        return ConversionError(self.path or "the value", problem)

    def _path_of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
    return f"a {type(value).__name__}"
