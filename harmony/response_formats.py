"""The `# Response Formats` section, found in instructions: a JSON schema that the model was told.

The format guide puts the section into the developer message; openai-harmony has no field for it. Here it
is a part of the instructions, so that a conversation stays one that openai-harmony renders to the same
tokens. It asks for the schema and does not enforce it; for that, decode under a grammar.
Source: https://github.com/openai/harmony, docs/format.md, "Structured output".
"""

from __future__ import annotations

import json
import re
from typing import Final

from harmony.errors import GrammarError
from harmony.formats import HEADING, JsonSchema
from harmony.recipients import is_function_name

_SECTION: Final = re.compile(rf"(?:\A|\n\n){HEADING}([\w-]+)\n\n((?://[^\n]*\n)*)(\{{[^\n]*)\Z", re.ASCII)


def split_response_format(instructions: str) -> tuple[str | None, JsonSchema | None]:
    """The instructions without the section at their end, and the format that it states; undoes `appended_to`.

    A section is taken out only if writing it again gives the same text.
    """
    found = _SECTION.search(instructions)
    if found is None or not is_function_name(found[1]):
        return instructions, None
    about = "\n".join(line.removeprefix("// ") for line in found[2].splitlines())
    rest = instructions[: found.start()]
    try:
        stated = JsonSchema(json.loads(found[3]), found[1], about or None)
        is_ours = stated.appended_to(rest) == instructions
    except (ValueError, RecursionError, GrammarError):
        is_ours = False
    return (rest or None, stated) if is_ours else (instructions, None)
