"""Expressions said again: what is finite is listed, what a look-ahead bars is left out."""

import re
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from harmony.schemas.patterns import in_mask, in_python, none_of, texts_of, unmatched

SHORT = ["".join(letters) for length in range(5) for letters in product("abc", repeat=length)]
"""All texts of up to four of three letters."""

pieces = st.sampled_from(["a", "b", "[ab]", "[^a]", "c?", "(a|bc)", "(?:a|b)?", "(|c)"])


@given(
    st.lists(st.lists(pieces, max_size=3).map("".join), min_size=1, max_size=3).map("|".join),
    st.sampled_from(["", "$"]),
    st.sampled_from(["[ab]", "[a-c]", "b", "[^b]"]),
    st.sampled_from("+*"),
)
def test_look_ahead_bars_what_python_says_it_does(bar: str, end: str, loop: str, repeated: str) -> None:
    """Where there is a form without look-ahead, the same texts match it."""
    pattern = f"^(?!(?:{bar}){end}){loop}{repeated}$"
    portable = in_mask(pattern)
    if "^" not in bar:
        assert portable is not None
    if portable is not None:
        for form in (portable, in_python(pattern)):
            expression, theirs = re.compile(form), re.compile(pattern)
            assert [t for t in SHORT if expression.search(t)] == [t for t in SHORT if theirs.search(t)]


@given(st.lists(pieces, max_size=4).map("".join))
def test_texts_are_all_that_match(pattern: str) -> None:
    """Few texts are listed, none twice; of more than that there is no list."""
    matching = [text for text in SHORT if re.fullmatch(pattern, text)]
    listed = texts_of(f"^(?:{pattern})$", 24)
    if "^" in pattern:
        assert listed is None
    elif listed is None:
        assert len(matching) > 4
    else:
        assert sorted(set(listed)) == sorted(listed)
        assert [text for text in listed if set(text) <= set("abc") and len(text) < 5] == sorted(matching)


@given(
    st.lists(st.lists(pieces, max_size=3).map("".join), min_size=1, max_size=2).map("|".join),
    st.sampled_from(["^{}$", "^(?:{})$", "^{}", "^(?:{})", "{}"]),
)
def test_unmatched_is_the_complement(inner: str, around: str) -> None:
    """Each text matches the expression or what is said to be the others, and never both."""
    pattern = around.format(inner)
    others = unmatched(pattern, 24)
    if others is not None:
        expression = re.compile(in_python(others))
        assert [t for t in SHORT if expression.search(t)] == [t for t in SHORT if not re.search(pattern, t)]
    elif around.startswith("^(?:") and "^" not in inner:
        assert len([text for text in SHORT if re.fullmatch(inner, text)]) > 4


@given(st.lists(st.text("ab", max_size=4), max_size=6))
def test_none_of_some_texts(texts: list[str]) -> None:
    """All texts match but these."""
    expression = re.compile(in_python(none_of(texts)))
    assert [text for text in SHORT if expression.search(text)] == [t for t in SHORT if t not in texts]


def test_what_is_not_anchored_is_not_finite() -> None:
    """A name that contains a text may be any of very many."""
    assert [texts_of(pattern, 24) for pattern in ("a", "^a", "a$", "^a|b$", "^a+$", "^.$")] == [None] * 6


def test_blanks_are_those_of_ecma_262() -> None:
    """The next-line character and the separators of ASCII, which Python counts, are none; the BOM is one."""
    blanks = " \t\n\v\f\r\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
    others = "\x1c\x1d\x1e\x1f\x85\u180e\u200ba"
    expression = re.compile(in_python(r"^\s$"))
    assert [mark for mark in blanks + others if expression.search(mark)] == list(blanks)
