"""What the final answer of a turn may be: JSON, a regular expression, one of some choices, a grammar.

Each format gives the rule that enforces it, in the Lark dialect of llguidance, and the section of the
developer message that tells the model about it; a mask without the prompt makes it write what it would
not have written. Source of the section: https://github.com/openai/harmony, docs/format.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harmony.errors import GrammarError
from harmony.recipients import is_function_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_QUOTED: Final = re.compile(
    r'"(?:\\.|[^"\\\n])*"|/(?!/)(?:\\.|[^/\\\n])+/|//[^\n]*|#[^\n]*',
)
"""What of a Lark grammar is text, and not structure: strings, regular expressions and comments."""


HEADING: Final = "# Response Formats\n\n## "


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema accepts; `name` and `description` are what the prompt says of it.

    Raises `GrammarError` for a name that is not 1 to 64 of a-z, A-Z, 0-9, `_` and `-`.

    >>> JsonSchema({"type": "object"}, "person").appended_to("Be brief.")
    'Be brief.\\n\\n# Response Formats\\n\\n## person\\n\\n{"type":"object"}'
    """

    schema: Mapping[str, object]
    name: str = "response"
    description: str | None = None

    def __post_init__(self) -> None:
        if not is_function_name(self.name):
            raise GrammarError(
                f"{self.name!r} cannot name a response format; use 1 to 64 of a-z, A-Z, 0-9, _ and -."
            )

    @property
    def rule(self) -> str:
        """The right side of the rule that enforces it; raises `GrammarError` for what is not JSON."""
        from harmony.schemas import enforce

        return f"%json {enforce(self.schema).mask}"

    @property
    def section(self) -> str:
        """What the developer message says of it; raises `GrammarError` for what is not JSON."""
        return _section(self.name, self.description, compact(self.schema))

    def appended_to(self, instructions: str | None) -> str:
        """Instructions that end in this section."""
        return f"{instructions}\n\n{self.section}" if instructions else self.section


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches as a whole; look-around and backreferences are not known."""

    pattern: str
    name: str = "response"
    description: str | None = None

    @property
    def rule(self) -> str:
        """The right side of the rule that enforces it."""
        return f"/{_slashed(self.pattern)}/" if self.pattern else '""'

    @property
    def section(self) -> str:
        """What the developer message says of it."""
        return _section(
            self.name, self.description, f"Text that matches the regular expression {self.pattern}"
        )


@dataclass(frozen=True, slots=True)
class Choices:
    """One of some texts."""

    choices: tuple[str, ...]
    name: str = "response"
    description: str | None = None

    @property
    def rule(self) -> str:
        """The right side of the rule that enforces it; raises `GrammarError` without a choice."""
        if not self.choices:
            raise GrammarError("A choice needs at least one text to choose from.")
        return " | ".join(map(quoted, self.choices))

    @property
    def section(self) -> str:
        """What the developer message says of it."""
        return _section(self.name, self.description, f"One of: {', '.join(map(quoted, self.choices))}")


@dataclass(frozen=True, slots=True)
class Lark:
    """Text that a grammar accepts, written in the Lark dialect of llguidance, with a rule `start`.

    It may not name special tokens, nor other grammars, so that it cannot leave the message.
    """

    grammar: str
    name: str = "response"
    description: str | None = None

    @property
    def rule(self) -> str:
        """The right side of the rule that enforces it; raises `GrammarError` if it reaches further."""
        structure = _QUOTED.sub("", self.grammar)
        depth = 0
        for mark in re.findall(r"[{}]", structure):
            depth += 1 if mark == "{" else -1
            if depth < 0:
                break
        if depth:
            raise GrammarError("The braces of the Lark grammar do not match; balance them.")
        if reaching := re.search(r"[<@\"/]|%import|max_tokens", structure):
            raise GrammarError(
                f"The Lark grammar holds {reaching[0]!r} outside of quotes; special tokens, other grammars "
                "and counts of tokens have no place in an answer."
            )
        return f"%lark {{\n{self.grammar}\n}}"

    @property
    def section(self) -> str:
        """What the developer message says of it."""
        return _section(self.name, self.description, f"Text that this Lark grammar accepts:\n{self.grammar}")


AnswerFormat = JsonSchema | Regex | Choices | Lark
"""What the answer of a turn can be held to."""


def quoted(text: str) -> str:
    """A text as a string of a Lark grammar; raises `GrammarError` for half a surrogate pair."""
    return encodable(_JSON.encode(text).replace("\x7f", "\\u007f"))


def _section(name: str, description: str | None, body: str) -> str:
    """The section that tells of a format by this name, whatever states it."""
    about = "".join(f"// {line}\n" for line in (description or "").rstrip().splitlines())
    return f"{HEADING}{name}\n\n{about}{body}"


def _slashed(pattern: str) -> str:
    """The pattern between slashes: those within it escaped, its line ends too."""
    escaped = re.sub(
        r"\\.|/", lambda found: r"\/" if found[0] in ("/", r"\/") else found[0], pattern, flags=re.S
    )
    return encodable(escaped.replace("\r", r"\r").replace("\n", r"\n"))


def compact(schema: Mapping[str, object]) -> str:
    """A schema on one line; raises GrammarError for what is not JSON."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise GrammarError(f"A schema is not JSON: {error}.") from error
    return encodable(text)


def encodable(text: str) -> str:
    """The text itself; raises GrammarError for half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GrammarError("A text of the grammar holds half a surrogate pair; remove it.") from error
    return text
