"""JSON that arrives in pieces is read as `json.loads` reads it whole, whatever the pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harmony.schemas.growing import DEEPEST, Closed, GrowingJson, NotJson

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)


def parts_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every value within a value with its path, in the order in which they close."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    inner = [part for step, member in members for part in parts_of(member, (*path, step))]
    return [*inner, (path, value)]


@given(json_values, st.booleans(), st.sampled_from([None, 2]), st.data())
def test_every_value_comes_out_when_it_closes(
    value: Any, ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    """With its path, once, in order, for any cuts; what was fed to a copy is not felt."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    growing = GrowingJson()
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        twin = growing.copy()
        events += growing.feed(text[start:end])
        twin.feed(text[start:end])
    events += growing.finish()
    assert [(event.path, event.value) for event in events if isinstance(event, Closed)] == parts_of(value)


@example(".e0")
@given(st.text(alphabet='[]{}",:\\ 01.e-truefalsnu'))
def test_what_json_refuses_is_refused(text: str) -> None:
    """Not before its time: until the text ends, what could still become JSON goes on."""

    def outcome() -> Any:
        growing = GrowingJson()
        events = [*growing.feed(text), *growing.finish()]
        return events[-1].value if isinstance(events[-1], Closed) else None

    try:
        expected = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    except ValueError:
        with pytest.raises(NotJson):
            outcome()
    else:
        assert outcome() == expected


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "9" * 5_000, "[" * (DEEPEST + 1), "1 2", ""])
def test_what_is_beyond_json_is_refused(text: str) -> None:
    """No constants of Python, no numbers that it cannot hold, no depth that it cannot check."""
    growing = GrowingJson()

    def read() -> None:
        growing.feed(text)
        growing.finish()

    with pytest.raises(NotJson):
        read()


@pytest.mark.parametrize("text", ["1e999", "-2.5E+0400"])
def test_what_can_only_become_too_large_is_refused_at_once(text: str) -> None:
    """A number is refused while it is written if no further digit can make it finite again."""
    with pytest.raises(NotJson, match="too large"):
        GrowingJson().feed(f"[{text}")
    for finite in ("0e999", "1e-999", "1e3", "9" * 40):
        GrowingJson().feed(f"[{finite}")
