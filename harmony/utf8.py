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
        data, text = self._pending + piece, ""
        self._pending = b""
        while True:
            try:
                return text + data.decode()
            except UnicodeDecodeError as error:
                text += data[: error.start].decode()
                if error.reason == "unexpected end of data":
                    self._pending = data[error.start :]
                    return text
                text += "\ufffd"
                self.replaced += 1
                data = data[error.end :]

    def flush(self) -> str:
        """The text of the bytes that still wait."""
        text = self._pending.decode(errors="replace")
        self.replaced += len(text)
        self._pending = b""
        return text
