"""What a worker printed, made into text that can stand in a conversation.

The bytes are untrusted: at most 64 KiB of them are kept, the first and the last half, however many come;
what is not UTF-8 is replaced; escape sequences and control characters other than newline and tab go.
Special tokens and citation marks pass as the text they are; whoever encodes them treats them as text.
"""

import codecs
import re

KEPT = 64 * 1024

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Capture:
    """The head and the tail of a stream of bytes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take what comes next in the stream."""
        self._size += len(data)
        room = KEPT // 2 - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -(KEPT // 2)]

    def text(self) -> str:
        """The stream as clean text, with a line in place of what was dropped."""
        dropped = self._size - len(self._head) - len(self._tail)
        if not dropped:
            return _clean((self._head + self._tail).decode(errors="replace"))
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(self._head)
        tail = self._tail.lstrip(bytes(range(0x80, 0xC0))).decode(errors="replace")
        return f"{_clean(head)}\n[... {dropped} bytes of output dropped ...]\n{_clean(tail)}"


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)
