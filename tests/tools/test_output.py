"""Any bytes of the worker become bounded, clean text."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from harmony.tools.python import output
from harmony.tools.python.output import Capture


def text_of(*parts: bytes) -> str:
    capture = Capture()
    for part in parts:
        capture.add(part)
    return capture.text()


@given(st.lists(st.binary()))
@example([b"\xff" * 100_000])
@example(["é".encode() * 70_000])
def test_any_bytes_give_clean_text(parts: list[bytes]) -> None:
    """The text encodes, and holds no control character but newline and tab."""
    text = text_of(*parts)
    assert text.encode().decode() == text
    assert all(unicodedata.category(character) != "Cc" or character in "\n\t" for character in text)


@given(st.lists(st.binary(max_size=40)), st.integers(2, 200))
def test_how_the_stream_was_cut_does_not_matter(parts: list[bytes], kept: int) -> None:
    """The same bytes give the same text, in whatever pieces they came, over the cap and under it."""
    before, output.KEPT = output.KEPT, kept
    try:
        assert text_of(*parts) == text_of(b"".join(parts))
    finally:
        output.KEPT = before


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t")))
def test_text_arrives_unchanged(text: str) -> None:
    """What is text already stays as it is."""
    assert text_of(text.encode()) == text


def test_a_character_on_the_cut_is_dropped_whole() -> None:
    """Neither end of a cut shows half a character."""
    text = text_of("é".encode() * output.KEPT)
    head, dropped, tail = text.split("\n")
    assert set(head + tail) == {"é"}
    assert dropped == f"[... {output.KEPT} bytes of output dropped ...]"
    odd = text_of(b"x" + "é".encode() * output.KEPT)
    assert "\ufffd" not in odd
