"""A memo gives what its function gives, and does not outgrow its capacity."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harmony.memo import Memo


@given(st.lists(st.integers(0, 40)))
def test_a_memo_is_its_function_within_its_capacity(keys: list[int]) -> None:
    """Whatever is asked in whatever order, the result is right and what is remembered fits."""
    memo = Memo(lambda key: "x" * key, size=lambda _, text: len(text), capacity=160)
    for key in keys:
        assert memo[key] == "x" * key
        assert sum(map(len, memo.values())) <= 160


def test_a_result_is_computed_once() -> None:
    """What is remembered is not computed again; what is too large to remember is."""
    asked: list[int] = []

    def double(key: int) -> int:
        asked.append(key)
        return 2 * key

    memo = Memo(double, size=lambda key, _: key, capacity=80)
    assert [memo[7], memo[7], memo[11], memo[11]] == [14, 14, 22, 22]
    assert asked == [7, 11, 11]
