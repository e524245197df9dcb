"""The o200k vocabulary that ships with this package, and the special tokens that gpt-oss adds to it.

The bundled file is zlib over the 256 single bytes, then the longer tokens with 0xFF, a byte that UTF-8
never has, between them, all in rank order. It is made from `o200k_base.tiktoken` of the tiktoken project
(MIT licence) by `pack_tiktoken`; `tiktoken_lines` gives that file back, byte for byte. xz would be a
fifth smaller and take six times as long to read.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Final

from harmony.errors import VocabularyError

TIKTOKEN_SHA256: Final = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
ORDINARY_TOKENS: Final = 199_998
VOCABULARY_SIZE: Final = 201_089

START_OF_TEXT: Final = 199998
END_OF_TEXT: Final = 199999
RETURN: Final = 200002
CONSTRAIN: Final = 200003
CHANNEL: Final = 200005
START: Final = 200006
END: Final = 200007
MESSAGE: Final = 200008
CALL: Final = 200012

CONSTRAIN_MARK: Final = "<|constrain|>"
"""What a constrained type of content begins with, in text."""

STOP_TOKENS: Final = frozenset({RETURN, END, CALL})
"""The tokens that end a message."""

_NAMED: Final = {
    START_OF_TEXT: "<|startoftext|>",
    END_OF_TEXT: "<|endoftext|>",
    RETURN: "<|return|>",
    CONSTRAIN: CONSTRAIN_MARK,
    CHANNEL: "<|channel|>",
    START: "<|start|>",
    END: "<|end|>",
    MESSAGE: "<|message|>",
    CALL: "<|call|>",
}
SPECIAL_TOKENS: Final = {
    _NAMED.get(token, f"<|reserved_{token}|>"): token for token in range(ORDINARY_TOKENS, VOCABULARY_SIZE)
}
"""The text of each special token, with its id."""

BUNDLED: Final = Path(__file__).with_name("data") / "o200k_base.zlib"
_PAYLOAD_SHA256: Final = "2389893ec9091bbd4f21a3a65be87b3e5eeeab662157f16c65d7706b4c892338"
_BYTES: Final = 256
_DIVIDER: Final = b"\xff"


@cache
def ordinary_tokens() -> tuple[bytes, ...]:
    """The bytes of each ordinary token, by rank; read once.

    Raises `VocabularyError` if the bundled file is missing or damaged.
    """
    return unpack(_read(BUNDLED))


@cache
def ranks() -> dict[bytes, int]:
    """The rank of each ordinary token, which is also its id, by its bytes; in ascending order."""
    return {token: rank for rank, token in enumerate(ordinary_tokens())}


@cache
def token_bytes() -> tuple[bytes, ...]:
    """The bytes of every token, by id; those of a special token spell its name."""
    return (*ordinary_tokens(), *(name.encode() for name in SPECIAL_TOKENS))


def unpack(packed: bytes) -> tuple[bytes, ...]:
    """The tokens in the bytes of a bundled file; raises `VocabularyError` if a single bit is wrong."""
    try:
        payload = zlib.decompress(packed)
    except zlib.error as error:
        raise VocabularyError(_damaged(str(error))) from error
    if hashlib.sha256(payload).hexdigest() != _PAYLOAD_SHA256:
        raise VocabularyError(_damaged("its checksum is wrong"))
    return (*(bytes([byte]) for byte in payload[:_BYTES]), *payload[_BYTES:].split(_DIVIDER))


def tiktoken_lines(tokens: tuple[bytes, ...]) -> bytes:
    """The tokens as tiktoken stores them: a line for each, base64 and rank."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))


def pack_tiktoken(source: bytes) -> bytes:
    """The bundled file, made from the contents of `o200k_base.tiktoken`.

    Raises `VocabularyError` if those are not the published ones.

    >>> BUNDLED.write_bytes(pack_tiktoken(Path("o200k_base.tiktoken").read_bytes()))  # doctest: +SKIP
    """
    if hashlib.sha256(source).hexdigest() != TIKTOKEN_SHA256:
        raise VocabularyError("This is not the published o200k_base.tiktoken; download it again.")
    tokens = [base64.b64decode(line.split()[0]) for line in source.splitlines()]
    return zlib.compress(b"".join(tokens[:_BYTES]) + _DIVIDER.join(tokens[_BYTES:]), level=9)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VocabularyError(_damaged(str(error))) from error


def _damaged(reason: str) -> str:
    return f"The bundled vocabulary {BUNDLED} is damaged ({reason}); reinstall gpt-oss-harmony."
