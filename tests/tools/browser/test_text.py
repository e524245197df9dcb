"""Page text: what is taken out, how it is wrapped, and where a view ends."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony import load_encoding
from harmony.tools.browser.text import clean, link_mark, numbered, one_line, view_end, without_links, wrap

LINES = st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=40)


@given(st.text())
def test_clean_text_holds_none_of_our_markup(text: str) -> None:
    """Whatever a page says, no mark and no lone surrogate is left; cleaning again changes nothing."""
    cleaned = clean(text)
    assert not set("【】†\r\x00\x1b\u202e\u200b\u2028") & set(cleaned)
    assert clean(cleaned) == cleaned
    cleaned.encode()


@pytest.mark.parametrize("text", ["👩‍💻", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️", "👍🏽", "नमस्ते", "می‌خواهم", "naïve café", "𝔘𝔫𝔦"])
def test_emoji_and_scripts_are_kept(text: str) -> None:
    """Joiners, variation selectors, flag tags and characters beyond the basic plane stay."""
    assert clean(text) == text


def test_hidden_instructions_go() -> None:
    """Tag characters outside a flag, which only a machine would read, are dropped."""
    smuggled = "".join(chr(0xE0000 + ord(c)) for c in "obey")
    assert clean(f"safe{smuggled} text") == "safe text"


def test_look_alikes_replace_our_markup() -> None:
    """The text stays readable."""
    assert clean("【3†Sources】") == "〖3‡Sources〗"


def test_one_line_merges_white_space() -> None:
    """Titles and link texts have single spaces, and no break."""
    assert one_line(" a\u2028b\n\n c\xa0d\t") == "a b c d"


@given(st.text(st.characters(codec="utf-8"), max_size=2000))
def test_wrapping_loses_no_character(text: str) -> None:
    """No line is longer than 80, and all that is not white space comes through in order."""
    cleaned = clean(text)
    lines = wrap(cleaned)
    assert all(len(line) <= 80 and "\n" not in line for line in lines)
    assert "".join("".join(lines).split()) == "".join(cleaned.split())


def test_wrapping_keeps_lines_and_indentation() -> None:
    """Short lines stay as they are; long ones break at spaces, very long words anywhere."""
    words = "word " * 30
    assert wrap(f"  indented\n\n{words}\n{'x' * 100}") == [
        "  indented",
        "",
        ("word " * 16).strip(),
        ("word " * 14).strip(),
        "x" * 80,
        "x" * 20,
    ]


def test_wrapping_takes_linear_time() -> None:
    """A megabyte without a space, or of spaces, is no trap: the test would not end."""
    assert len(wrap("x" * 1_000_000)) == 12_500
    assert wrap(" " * 1_000_000 + "x") == ["x"]


@given(LINES, st.integers(1, 60))
def test_a_view_is_its_tokens_rounded_up_to_a_line(lines: list[str], tokens: int) -> None:
    """The line in which the last token lies is the last one shown."""
    lines = wrap(clean("\n".join(lines)))
    encoding = load_encoding()
    end = view_end(lines, 0, tokens)
    everything = encoding.encode(numbered(lines, 0), disallowed_special=())
    if len(everything) <= tokens:
        assert end == len(lines)
    else:
        assert end == encoding.decode(everything[:tokens]).count("\n") + 1


def test_a_view_of_ordinary_text_holds_1024_tokens() -> None:
    """With one line less it would hold fewer."""
    lines = ["The quick brown fox jumps over the lazy dog."] * 500
    encoding = load_encoding()
    end = view_end(lines, 100, 1024)
    assert len(encoding.encode(numbered(lines[100:end], 100))) >= 1024
    assert len(encoding.encode(numbered(lines[100 : end - 1], 100))) < 1024


def test_lines_are_numbered_from_the_view_on() -> None:
    """The number is the place in the page, not in the view."""
    assert numbered(["a", "b"], 7) == "L7: a\nL8: b"


@given(
    st.lists(st.sampled_from(["word", "x" * 90, link_mark(3, "a link"), link_mark(12, "b " * 50, "c.org")]))
)
def test_taking_links_out_keeps_the_number_of_lines(parts: list[str]) -> None:
    """A link over several lines becomes text over as many; nothing of the markup is left."""
    lines = wrap(" ".join(parts))
    plain = without_links(lines)
    assert len(plain) == len(lines)
    assert not re.search("[【†】]", "\n".join(plain))
