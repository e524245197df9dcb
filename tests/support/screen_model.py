"""What a terminal of some width shows after a stream of output: enough of a VT100 for what rich writes."""

import re

_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\](.*?)(?:\x1b\\|\x07)|(.)", re.DOTALL)


class ScreenModel:
    """The rows of the screen and its history, the links on it, and the escape sequences that were used."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self.links: list[str] = []
        self.sequences: list[tuple[str, str]] = []

    def feed(self, output: str) -> None:
        """Take what a program wrote."""
        for arguments, final, command, character in _PART.findall(output):
            if final:
                self.sequences.append((arguments, final))
                self._move(arguments, final)
            elif command:
                self.links += [command.split(";", 2)[2]] if command.startswith("8;") else []
            else:
                self._put(character)

    @property
    def rows(self) -> list[str]:
        """What is seen, without blanks at the ends."""
        return ["".join(row).rstrip() for row in self._rows]

    def _move(self, arguments: str, final: str) -> None:
        if final == "A":
            self._row = max(0, self._row - int(arguments or 1))
        elif final == "K":
            assert arguments == "2"
            self._rows[self._row] = []
        else:
            assert final in "mhl", f"unexpected CSI {arguments}{final}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
            return
        if character == "\n" or self._column == self._width:
            self._row, self._column = self._row + 1, 0 if character != "\n" else self._column
            if self._row == len(self._rows):
                self._rows.append([])
        if character == "\n":
            return
        row = self._rows[self._row]
        row += " " * (self._column + 1 - len(row))
        row[self._column] = character
        self._column += 1
