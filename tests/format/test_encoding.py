"""Text becomes the same tokens, and tokens the same text, as with openai-harmony."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harmony

if TYPE_CHECKING:
    from tests.conftest import Oracle

texts = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            ["<|end|>", "<|start|>", "<|not_special|>", " don't", "\r\n\n", "日本語", "👩‍👩‍👧", "a" * 40]
        ),
    )
).map("".join)


@given(texts)
def test_ordinary_text_encodes_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, text: str
) -> None:
    """With nothing special, both give the same tokens, which decode to the text."""
    tokens = encoding.encode(text, disallowed_special=())
    assert tokens == oracle.encoding.encode(text, disallowed_special=())
    assert encoding.decode(tokens) == encoding.decode_utf8(tokens) == text


@given(texts)
def test_special_text_encodes_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, text: str
) -> None:
    """With everything allowed, both turn the same texts into special tokens."""
    assert encoding.encode(text, allowed_special="all") == oracle.encoding.encode(text, allowed_special="all")


@given(texts, st.sets(st.sampled_from(["<|end|>", "<|start|>"])))
def test_disallowed_text_is_refused_as_by_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, text: str, allowed: set[str]
) -> None:
    """Both refuse the same texts when some special tokens are allowed and the others are not."""
    try:
        expected = oracle.encoding.encode(text, allowed_special=allowed)
    except RuntimeError:
        with pytest.raises(harmony.HarmonyError, match="disallowed_special"):
            encoding.encode(text, allowed_special=allowed)
    else:
        assert encoding.encode(text, allowed_special=allowed) == expected


@given(st.text(st.characters(categories=["L", "Cs"]) | st.sampled_from("\ud83d\ude00 <|>"), max_size=8))
def test_surrogates_encode_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, text: str
) -> None:
    """A pair of surrogates is the character that it encodes, a lone one becomes U+FFFD."""
    assert encoding.encode(text) == oracle.encoding.encode(text)


@given(st.lists(st.integers(0, 201_088), max_size=20))
def test_any_tokens_decode_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, tokens: list[int]
) -> None:
    """Valid or not as UTF-8, both give the same text."""
    assert encoding.decode(tokens) == oracle.encoding.decode(tokens)


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 258, 512, 513, 514, 769])
@pytest.mark.parametrize("end", ["", "b", ".", "\n", "\nb"])
def test_white_space_is_cut_before_its_last_character(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, length: int, end: str
) -> None:
    """Before a word, at the end, and before a new line, at any multiple of what the pattern leaps over."""
    text = "a" + " " * length + end
    assert encoding.encode(text, disallowed_special=()) == oracle.encoding.encode(text, disallowed_special=())


units = st.sampled_from(
    ["a", "ab", " ", "\t", " \u3000", "\n", " \n", "!", "=-", "é", "日本", "🤖", "0", "Ab", "_", "/"]
)
runs = st.tuples(units, st.integers(1, 800) | st.sampled_from([255, 256, 257, 511, 512, 513]))


@given(st.lists(runs.map(lambda run: run[0] * run[1]) | st.text(max_size=3), max_size=4).map("".join))
def test_repetitive_text_encodes_as_in_the_oracle(
    encoding: harmony.HarmonyEncoding, oracle: Oracle, text: str
) -> None:
    """Long runs of one thing, white space among them, are cut and merged as the oracle does it."""
    assert encoding.encode(text, disallowed_special=()) == oracle.encoding.encode(text, disallowed_special=())


@pytest.mark.parametrize("text", ["a", " ", "\t\u3000", "🤖"], ids=["a", "space", "wide space", "emoji"])
@pytest.mark.parametrize("end", ["", "b"])
def test_a_million_times_the_same_is_encoded(encoding: harmony.HarmonyEncoding, text: str, end: str) -> None:
    """What takes the reference minutes, or overflows the stack of tiktoken's pattern, is just text."""
    text = text * 1_100_000 + end
    assert encoding.decode(encoding.encode(text, disallowed_special=())) == text


def test_any_text_can_be_disallowed(encoding: harmony.HarmonyEncoding) -> None:
    """disallowed_special takes texts that are no special tokens."""
    with pytest.raises(harmony.HarmonyError):
        encoding.encode("a secret", disallowed_special=["secret"])


@pytest.mark.parametrize("token", [-1, 201_089, 2**40])
def test_an_unknown_token_does_not_decode(encoding: harmony.HarmonyEncoding, token: int) -> None:
    """An id outside the vocabulary raises HarmonyError."""
    with pytest.raises(harmony.HarmonyError, match="outside the vocabulary"):
        encoding.decode([token])


def test_half_a_character_does_not_decode_strictly(encoding: harmony.HarmonyEncoding) -> None:
    """decode_utf8 raises where decode puts U+FFFD."""
    half = encoding.encode("🤖", disallowed_special=())[:1]
    assert encoding.decode(half) == "\ufffd"
    with pytest.raises(harmony.HarmonyError, match="UTF-8"):
        encoding.decode_utf8(half)


def test_special_tokens_are_those_of_the_oracle(encoding: harmony.HarmonyEncoding, oracle: Oracle) -> None:
    """Names, ids and stop tokens agree."""
    assert encoding.special_tokens_set == oracle.encoding.special_tokens_set
    for token in [0, 199_997, 199_998, 200_012, 201_088, 201_089]:
        assert encoding.is_special_token(token) == oracle.encoding.is_special_token(token)
    assert set(encoding.stop_tokens()) == set(oracle.encoding.stop_tokens())
    assert set(encoding.stop_tokens_for_assistant_actions()) == set(
        oracle.encoding.stop_tokens_for_assistant_actions()
    )


def test_token_bytes_spell_every_token(encoding: harmony.HarmonyEncoding) -> None:
    """token_bytes has an entry for each id, special ones included."""
    assert len(encoding.token_bytes) == 201_089
    assert encoding.token_bytes[200_012] == b"<|call|>"
    assert encoding.token_bytes[220] == b" "


def test_the_encoding_is_loaded_once() -> None:
    """Every way to load, copy or unpickle the encoding gives the same object."""
    encoding = harmony.load_encoding()
    assert harmony.load_harmony_encoding("HarmonyGptOss") is encoding
    assert harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS) is encoding
    assert pickle.loads(pickle.dumps(encoding)) is encoding
    assert copy.deepcopy(encoding) is encoding


def test_an_unknown_encoding_is_refused() -> None:
    """A name that is none raises ValueError."""
    with pytest.raises(ValueError, match="gpt-5"):
        harmony.load_harmony_encoding("gpt-5")
