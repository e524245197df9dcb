"""UTF-8 that arrives in pieces."""

from __future__ import annotations


class Utf8Stream:
    """Bytes to text: a character comes out once its last byte is in, U+FFFD for bytes that are none.

    The concatenated text of `feed` and `flush` is that of `bytes.decode(errors="replace")`.

    >>> stream = Utf8Stream()
    >>> stream.feed(b"\\xc3"), stream.feed(b"\\xa9"), stream.flush()
    ('', 'é', '')
    """

    def __init__(self) -> None:
        self._pending = b""
        self.replaced = 0

    def feed(self, piece: bytes) -> str:
        """The text that these bytes complete."""
        text = ""
        while True:
            try:
                return text + self.feed_valid(piece)
            except UnicodeDecodeError as error:
                text += error.object[: error.start].decode() + "\ufffd"
                self.replaced += 1
                self._pending, piece = b"", error.object[error.end :]

    def feed_valid(self, piece: bytes) -> str:
        """As `feed`; raises `UnicodeDecodeError`, and takes nothing in, if a byte is not UTF-8."""
        data = self._pending + piece
        try:
            text = data.decode()
            self._pending = b""
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                raise
            text = data[: error.start].decode()
            self._pending = data[error.start :]
        return text

    def flush(self) -> str:
        """The text of the bytes that still wait."""
        text = self._pending.decode(errors="replace")
        self.replaced += len(text)
        self._pending = b""
        return text
