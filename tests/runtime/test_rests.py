"""Alternatives behind alternatives say what a list of all their texts would."""

from __future__ import annotations

from itertools import product, takewhile

from hypothesis import assume, given
from hypothesis import strategies as st

from harmony.runtime.letters import letters
from harmony.runtime.rests import Rest, Tail, beginnings, certain, following

SPECIAL = letters(7)
Words = list[str]

words = st.lists(st.text(f"ab{SPECIAL}", max_size=3), min_size=1, max_size=3, unique=True)
headers = st.lists(st.lists(words, min_size=1, max_size=3), min_size=1, max_size=3)


def listed(orders: list[list[Words]]) -> set[str]:
    return {"".join(chosen) + SPECIAL * 2 for order in orders for chosen in product(*order)}


def rests(orders: list[list[Words]]) -> list[Rest]:
    found: list[Rest] = []
    for first, *others in orders:
        tail = Tail((SPECIAL * 2,), None)
        for later in reversed(others):
            tail = Tail(tuple(later), tail)
        found += [Rest(word, tail, "x") for word in first]
    return following(found, "")


def texts(tail: Tail | None) -> set[str]:
    return {word + text for word in tail.words for text in texts(tail.behind)} if tail else {""}


@given(headers, st.text(f"ab{SPECIAL}", max_size=6))
def test_what_may_follow_is_what_the_list_of_texts_says(orders: list[list[Words]], read: str) -> None:
    """Behind anything that is read: the texts, what all begin with, the parts before a special token."""
    left = {text[len(read) :] for text in listed(orders) if text.startswith(read)}
    found = following(rests(orders), read)
    assert {rest.letters + text for rest in found for text in texts(rest.tail)} == left
    assume(left)
    assert all(rest.letters or rest.tail is None for rest in found)
    assert min(len(rest.shortest) for rest in found) == min(map(len, left))
    pairs = zip(min(left), max(left), strict=False)
    assert certain(found) == "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    before = {text.partition(SPECIAL)[0] for text in left}
    assert beginnings(found) == {text[:end] for text in before for end in range(1, len(text) + 1)}
