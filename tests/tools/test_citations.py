"""Citations in answers: how they are written, and how a stream of text keeps them whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.tools.citations import Mark, WholeCitations, marks_in

CITATIONS = st.builds(
    lambda cursor, first, last: f"【{cursor}†L{first}{last}】",
    st.integers(0, 999_999_999),
    st.integers(0, 999_999_999),
    st.sampled_from(["", "-L7", "-L123456789", "-9", "–L2"]),
)
TEXTS = st.lists(CITATIONS | st.text("【】†L-–0123456789 a\n"), max_size=8).map("".join)


def streamed(pieces: list[str]) -> list[str]:
    whole = WholeCitations()
    return [*(whole.feed(piece) for piece in pieces), whole.flush()]


@pytest.mark.parametrize(
    ("citation", "mark"),
    [
        ("【6†L9-L11】", (6, 9, 11)),
        ("【8†L3】", (8, 3, 3)),
        ("【8†L3-5】", (8, 3, 5)),
        ("【8†L3–L5】", (8, 3, 5)),
        ("【8†L5-L3】", (8, 5, 5)),
    ],
)
def test_citations_are_found(citation: str, mark: tuple[int, int, int]) -> None:
    """As trained, and in the slips that models make."""
    assert list(marks_in(f"ab{citation}c")) == [Mark(2, 2 + len(citation), *mark)]


@given(TEXTS, st.data())
def test_a_stream_shows_whole_citations(text: str, data: st.DataObject) -> None:
    """Cut anywhere, no piece that is shown ends inside a citation, and nothing is lost."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = streamed(pieces)
    assert "".join(shown) == text
    ends = {sum(map(len, shown[:number])) for number in range(len(shown) + 1)}
    for mark in marks_in(text):
        assert not ends & set(range(mark.start + 1, mark.end))


def test_other_text_is_not_held_back() -> None:
    """Brackets as Japanese uses them, and what is too long for a citation, pass at once."""
    assert streamed(["見出し【重要", "】です"]) == ["見出し【重要", "】です", ""]
    assert streamed(["【1", "2†L", "3x"]) == ["", "", "【12†L3x", ""]
    assert streamed(["【" + "1" * 10]) == ["【" + "1" * 10, ""]
    assert streamed(["a 【3†L4"]) == ["a ", "【3†L4"]
