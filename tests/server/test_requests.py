"""The fields of requests, checked by their types where that decides."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.server.requests import RequestSchema, _Field, _Validator
from harmony.server.schemas import CHAT_REQUEST, COMPLETION_REQUEST, RESPONSES_REQUEST

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from(["", "low"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["effort", "a"]), inner),
    max_leaves=4,
)


@pytest.mark.parametrize("request_schema", [RESPONSES_REQUEST, CHAT_REQUEST, COMPLETION_REQUEST])
@given(value=VALUES)
def test_a_field_fits_as_its_schema_says(request_schema: dict[str, Any], value: object) -> None:
    for name, schema in request_schema["properties"].items():
        assert _Field(schema).fits(value) == _Validator(schema).is_valid(value), name


def test_what_is_wrong_is_told() -> None:
    error = RequestSchema(RESPONSES_REQUEST).error({"model": "m", "input": "x", "stream": "yes"})
    assert error is not None
    assert [*error.absolute_path] == ["stream"]
