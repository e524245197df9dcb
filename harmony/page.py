"""Standard output: coloured on a terminal, where nothing in a text is obeyed; exact UTF-8 everywhere else."""

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
            _write("".join(text for text, _ in pieces))

    def json(self, value: object, *, for_programs: bool) -> None:
        """Print JSON: on one line for programs, where a terminal gets it in ASCII, else to be read."""
        on_terminal = self._out.is_terminal
        if for_programs:
            _write(json.dumps(value, ensure_ascii=on_terminal))
        elif on_terminal:
            self._out.print_json(printable(json.dumps(value, ensure_ascii=False)), ensure_ascii=False)
        else:
            _write(json.dumps(value, ensure_ascii=False, indent=2))

    def aside(self, *pieces: Piece) -> None:
        """Print a line on standard error."""
        self._aside.print(_styled(pieces))


def _write(text: str) -> None:
    sys.stdout.buffer.write(f"{text}\n".encode())


def _styled(pieces: tuple[Piece, ...]) -> Text:
    return Text.assemble(*((printable(text), style) for text, style in pieces))
