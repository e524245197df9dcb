"""TypeScript types as text, with what is to be said of them in comments.

Whatever the texts are, a comment ends where its line ends and a literal where its quotes end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INTEGER: Final = "integer"
"""What is said of a number that is an integer."""

_LINE_BREAK: Final = re.compile(r"\r\n|[\n\r\u2028\u2029]")
_VAGUE: Final = ("any", "Record<string, any>", "Array<any>")


@dataclass(frozen=True, slots=True)
class Type:
    """The text of a type, its description, and notes that have yet to be put into a comment.

    A text that begins with a newline has a line for each variant, and ends at the start of a line.
    """

    text: str
    about: str = ""
    notes: tuple[str, ...] = ()
    is_compound: bool = False

    @property
    def is_vague(self) -> bool:
        """Whether it says little more than nothing."""
        return self.text in _VAGUE

    @property
    def is_short(self) -> bool:
        """Whether it fits among others on one line, without a comment of its own."""
        return "\n" not in self.text and not self.about and {INTEGER}.issuperset(self.notes)

    @property
    def operand(self) -> str:
        """The text as an operand of `[]`, `?` and `&`."""
        return f"({self.text})" if self.is_compound else self.text

    @property
    def variant(self) -> str:
        """The text as an operand of `|`."""
        return self.operand if self.text.startswith("\n") else self.text


ANY: Final = Type("any")
NEVER: Final = Type("never")
NULL: Final = Type("null")


def union(types: Sequence[Type], margin: int, *, in_lines: bool = False) -> Type:
    """Any of the types; on lines at this margin where one is not short."""
    variants = list(dict.fromkeys(types))
    if ANY.text in [variant.text for variant in variants]:
        return ANY
    present = [variant for variant in variants if variant.text != "null"]
    if len(variants) == 1:
        return variants[0]
    if len(present) == 1:
        return replace(present[0], text=f"{present[0].variant} | null", is_compound=True)
    if not in_lines and all(variant.is_short for variant in variants):
        notes = tuple(dict.fromkeys(note for variant in variants for note in variant.notes))
        return Type(" | ".join(variant.text for variant in variants), notes=notes, is_compound=True)
    pad = " " * max(margin, 0)
    lines = (f"\n{pad} | {each.variant}{trailing_comment(each.about, *each.notes)}" for each in variants)
    return Type("".join([*lines, "\n", pad]), is_compound=True)


def intersection(types: Sequence[Type]) -> Type:
    """All of the types; one that is vague counts only if there is no other."""
    notes = tuple(dict.fromkeys(note for each in types for note in each.notes))
    about = "\n".join(dict.fromkeys(each.about for each in types if each.about))
    exact = list({each.text: each for each in types if not each.is_vague}.values())
    if len(exact) > 1:
        return Type(" & ".join(each.operand for each in exact), about, notes, is_compound=True)
    return replace(*exact or types[:1], about=about, notes=notes)


def literal(value: Any) -> str:
    """A JSON value as a type, on one line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def key_text(name: str) -> str:
    """The name of a property, quoted unless it is an identifier."""
    return name if name.replace("$", "_").isidentifier() else literal(name)


def comment_lines(text: str, margin: int) -> Iterator[str]:
    """A comment with the lines of a text; none if it is empty."""
    if text:
        for line in _LINE_BREAK.split(text.strip("\r\n")):
            yield f"{' ' * margin}// {line}\n" if line else f"{' ' * margin}//\n"


def trailing_comment(*notes: str) -> str:
    """A comment behind something on its line; none if there is nothing to say."""
    said = ", ".join(filter(None, notes))
    return f" // {' '.join(_LINE_BREAK.split(said))}" if said else ""


def notes_within(label: str, type_: Type) -> tuple[str, ...]:
    """What is to be said of a part of a type, as one note."""
    said = [text for text in (type_.about, *type_.notes) if text]
    return (f"{label}: {', '.join(said)}",) if said else ()
