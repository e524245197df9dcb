"""What a tool said, cut to what the model has room for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harmony import load_encoding
from harmony.agent.calls import fitted

ENCODING = load_encoding()


def cut(text: str, most: int) -> str:
    return fitted(ENCODING, text, most, 1_000_000)


PIECES = ["word ", "👩‍👩‍👧‍👦", "é\u0301", "\n", "<|end|>", "0123"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=40, max_size=300),
    st.integers(20, 100),
)
def test_no_more_than_the_limit_is_left(parts: list[str], most: int) -> None:
    """The note of what was left out counts, so that what was cut is not cut again."""
    text = "".join(parts)
    left = cut(text, most)
    assert len(ENCODING.encode(left, disallowed_special=())) <= most
    assert cut(left, most) == left
    assert left == text or "tokens left out" in left


def test_no_room_leaves_the_note_alone() -> None:
    """Nothing of the text, rather than all of it."""
    for most in (0, 1, 5):
        assert cut("word " * 100, most) == "\n[… 101 tokens left out …]\n"
    assert fitted(ENCODING, "word " * 100, 1000, 0) == "\n[… 101 tokens left out …]\n"
