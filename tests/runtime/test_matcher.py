"""The row that masks are written to: whatever was in it before, it holds what was written last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harmony.runtime.matcher import Row
from harmony.runtime.token_table import WORD, packed, unpacked

WORDS = 4
tokens = st.integers(0, WORDS * WORD - 1)
several = st.lists(tokens, min_size=1, max_size=5, unique=True)
UNCHANGING = [packed(range(start, WORDS * WORD, 3), WORDS) for start in range(3)]
COPIES = [mask.copy() for mask in UNCHANGING]
writings = st.one_of(
    st.tuples(st.just("copy"), st.sampled_from(UNCHANGING)),
    st.tuples(st.just("few"), several),
    st.tuples(st.just("only"), tokens),
    st.tuples(st.just("replace"), tokens),
    st.tuples(st.just("remove"), several),
    st.tuples(st.just("foreign"), several),
)


@given(st.lists(writings, max_size=12))
def test_a_row_holds_what_was_written_last(written: list[tuple[str, object]]) -> None:
    """In any order, as if each time all of it was written."""
    row, wanted = Row(WORDS), packed([0], WORDS)
    row.only(0)
    for kind, value in written:
        match kind, value:
            case "copy", np.ndarray() as mask:
                row.copy(mask)
                wanted = mask.copy()
            case "few", list(some):
                mask = packed(some, WORDS)
                row.few(np.flatnonzero(mask), mask[np.flatnonzero(mask)])
                wanted = mask
            case "only", int(token):
                row.only(token)
                wanted = packed([token], WORDS)
            case "replace", int(other) if (token := int(unpacked(wanted)[0])) != other:
                row.replace(token, other)
                wanted = (wanted & ~packed([token], WORDS)) | packed([other], WORDS)
            case "remove", list(some):
                rest = wanted & ~packed(some, WORDS)
                assert row.remove(packed(some, WORDS)) == rest.any()
                wanted = rest if rest.any() else wanted
            case "foreign", list(some):
                row.same_as = row.nonzero = None
                row.mask[:] = wanted = packed(some, WORDS)
        assert np.array_equal(row.mask, wanted)
    assert np.array_equal(UNCHANGING, COPIES)
