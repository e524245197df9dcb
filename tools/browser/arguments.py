"""The arguments of a call as models write them: unknown ones are ignored, null is taken as not given."""

import re

from harmony.errors import ToolError
from harmony.tools.arguments import parsed

_LINK = re.compile(r"【?\s*(-?\d{1,9})(?:\.0+)?\s*(?:†.*)?】?", re.DOTALL)
_WHOLE = re.compile(r"\s*(-?\d{1,9})(?:\.0+)?\s*")


class Arguments:
    """The JSON object of a call, read by name. Raises ToolError, which says what to send instead."""

    def __init__(self, text: str) -> None:
        self._values = parsed(text)

    def text(self, name: str) -> str:
        """A text that must be given."""
        value = self._values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise ToolError(f"{name} is missing: send it as a text.")
        return value

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        found = None if isinstance(value, bool) else _WHOLE.fullmatch(str(value))
        if found is None:
            raise ToolError(f"{name} must be a whole number, not {str(value)[:40]!r}.")
        return int(found[1])

    def flag(self, name: str) -> bool:
        """True or false; false when it is not given."""
        return self._values.get(name) in (True, "true", "True")

    def link_or_url(self) -> int | str:
        """The `id` of a call to open: the number of a link, -1 for the page itself, or an address."""
        value = self._values.get("id")
        if isinstance(value, str) and value.strip():
            found = _LINK.fullmatch(value.strip())
            return int(found[1]) if found else value.strip()
        return self.number("id", -1)
