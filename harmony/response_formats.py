"""The `# Response Formats` section: a JSON schema that the answer is to follow, told to the model.

The format guide puts the section into the developer message; openai-harmony has no field for it. Here it
is a part of the instructions, so that a conversation stays one that openai-harmony renders to the same
tokens. It asks for the schema and does not enforce it; for that, decode under a grammar.
Source: https://github.com/openai/harmony, docs/format.md, "Structured output".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harmony.errors import RenderError
from harmony.recipients import is_function_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADING: Final = "# Response Formats\n\n## "
_SECTION: Final = re.compile(rf"(?:\A|\n\n){_HEADING}([\w-]+)\n\n((?://[^\n]*\n)*)(\{{[^\n]*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A named JSON schema for answers, and what it is for.

    Raises RenderError for a name that is not 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, and for a schema that
    is not JSON.

    >>> ResponseFormat("person", {"type": "object"}).appended_to("Be brief.")
    'Be brief.\\n\\n# Response Formats\\n\\n## person\\n\\n{"type":"object"}'
    """

    name: str
    schema: Mapping[str, Any]
    description: str | None = None

    def __post_init__(self) -> None:
        if not is_function_name(self.name):
            raise RenderError(
                f"{self.name!r} cannot name a response format; use 1 to 64 of a-z, A-Z, 0-9, _ and -."
            )

    @property
    def section(self) -> str:
        """The section, as the format guide lays it out."""
        return section_text(self.name, self.description, self._schema_json())

    def appended_to(self, instructions: str | None) -> str:
        """Instructions that end in this section."""
        return f"{instructions}\n\n{self.section}" if instructions else self.section

    def _schema_json(self) -> str:
        try:
            return json.dumps(self.schema, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise RenderError(
                f"The schema of the response format {self.name!r} is not JSON: {error}."
            ) from error


def section_text(name: str, description: str | None, body: str) -> str:
    """The section that tells of a format by this name, whatever states it."""
    about = "".join(f"// {line}\n" for line in (description or "").rstrip().splitlines())
    return f"{_HEADING}{name}\n\n{about}{body}"


def split_response_format(instructions: str) -> tuple[str | None, ResponseFormat | None]:
    """The instructions without the section at their end, and the format that it states; undoes `appended_to`.

    A section is taken out only if writing it again gives the same text.
    """
    found = _SECTION.search(instructions)
    if found is None or not is_function_name(found[1]):
        return instructions, None
    about = "\n".join(line.removeprefix("// ") for line in found[2].splitlines())
    try:
        stated = ResponseFormat(found[1], json.loads(found[3]), about or None)
    except (ValueError, RecursionError):
        return instructions, None
    rest = instructions[: found.start()]
    return (rest or None, stated) if stated.appended_to(rest) == instructions else (instructions, None)
