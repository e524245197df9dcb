"""The bundled vocabulary is the published one, and a damaged file is noticed."""

from __future__ import annotations

import hashlib

import pytest

from harmony import VocabularyError, vocabulary


def test_the_bundle_gives_back_the_published_file() -> None:
    """Written out, the bundled tokens are o200k_base.tiktoken, byte for byte."""
    written = vocabulary.tiktoken_lines(vocabulary.ordinary_tokens())
    assert hashlib.sha256(written).hexdigest() == vocabulary.TIKTOKEN_SHA256


def test_the_bundle_is_small() -> None:
    """The bundled file stays under a megabyte."""
    assert vocabulary.BUNDLED.stat().st_size < 1_000_000


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:5000] + b"\0" + b[5001:]])
def test_damage_is_noticed(damage: object) -> None:
    """A truncated, empty or altered file raises VocabularyError."""
    assert callable(damage)
    with pytest.raises(VocabularyError, match="reinstall"):
        vocabulary.unpack(damage(vocabulary.BUNDLED.read_bytes()))


def test_another_payload_is_noticed() -> None:
    """A sound archive of something else raises VocabularyError."""
    import zlib

    with pytest.raises(VocabularyError, match="checksum"):
        vocabulary.unpack(zlib.compress(b"something else"))


def test_packing_refuses_other_sources() -> None:
    """Only the published file can be packed."""
    with pytest.raises(VocabularyError, match="published"):
        vocabulary.pack_tiktoken(b"IQ== 0\n")


def test_special_tokens_fill_the_rest_of_the_vocabulary() -> None:
    """The 1,091 special tokens have the ids after the ordinary ones, each with a name of its own."""
    assert sorted(vocabulary.SPECIAL_TOKENS.values()) == [*range(199_998, 201_089)]
    assert vocabulary.SPECIAL_TOKENS["<|call|>"] == vocabulary.CALL
    assert vocabulary.SPECIAL_TOKENS["<|reserved_200018|>"] == 200_018
