"""Standard output: coloured on a terminal, where nothing in a text is obeyed; exact everywhere else."""

import json
import sys

from rich.console import Console
from rich.text import Text

from harmony.printable import printable

Piece = tuple[str, str]
"""A text and its style."""


class Page:
    """What a command prints."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._aside = Console(stderr=True, highlight=False, soft_wrap=True)

    def line(self, *pieces: Piece) -> None:
        """Print texts, and end the line."""
        if self._out.is_terminal:
            self._out.print(_styled(pieces))
        else:
            sys.stdout.write("".join(text for text, _ in pieces) + "\n")

    def json(self, value: object, *, for_programs: bool) -> None:
        """Print JSON: on one line for programs, else to be read."""
        if for_programs or not self._out.is_terminal:
            indent = None if for_programs else 2
            sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
        else:
            self._out.print_json(printable(json.dumps(value, ensure_ascii=False)), ensure_ascii=False)

    def aside(self, *pieces: Piece) -> None:
        """Print a line on standard error."""
        self._aside.print(_styled(pieces))


def _styled(pieces: tuple[Piece, ...]) -> Text:
    return Text.assemble(*((printable(text), style) for text, style in pieces))
