"""The veto objects as soon as a value is known to be wrong, and stays before what it objects to."""

from __future__ import annotations

from typing import Any

import pytest

from harmony.schemas import enforce

NAMES = {"type": "object", "propertyNames": {"format": "regex"}}
ODD = {"not": {"multipleOf": 2}, "type": "integer"}


@pytest.mark.parametrize(
    ("schema", "before", "wrong", "path", "keyword"),
    [
        ({"uniqueItems": True}, "[1, [2], 1.5, ", "[2],", (3,), "uniqueItems"),
        ({"uniqueItems": True}, "[1, true, 2, ", "1.0,", (3,), "uniqueItems"),
        (NAMES, '{"a": 1, "(', '"', ("(",), "propertyNames"),
        ({"items": ODD}, "[1, 3, ", "4,", (2,), "not"),
        ({"properties": {"a": {"$ref": "#/$defs/o"}}, "$defs": {"o": ODD}}, '{"a": ', "4}", ("a",), "not"),
        ({"items": {"pattern": "^(?!a)"}}, '["b", "a', '"', (1,), "pattern"),
        ({"type": "array", "contains": {"const": 1}}, "[2, 3", "]", (), "contains"),
        ({"anyOf": [{"items": ODD}, {"type": "null"}]}, "[1, 2, 3", "]", (1,), "not"),
        ({"additionalProperties": {"format": "regex"}}, '{"x": "', '("', ("x",), "format"),
    ],
)
def test_the_veto_objects_when_the_value_closes(
    schema: Any, before: str, wrong: str, path: tuple[str | int, ...], keyword: str
) -> None:
    """It names the place and the keyword, takes nothing of the text in, and goes on with another."""
    veto = enforce(schema).veto()
    assert all(veto.advance(character) is None for character in before)
    for _ in range(2):
        violation = veto.copy().advance(wrong)
        assert violation is not None
        assert (violation.path, violation.keyword) == (path, keyword)
        assert veto.advance(wrong) == violation


def test_a_value_may_go_on_after_an_objection() -> None:
    """Another token in place of the one objected to is read as if that had never been."""
    veto = enforce({"items": ODD}).veto()
    assert veto.advance("[1, ") is None
    assert veto.advance("2,") is not None
    assert veto.advance("23]") is None
    assert veto.finish() is None


def test_a_number_that_stands_alone_is_judged_at_the_end() -> None:
    """Only there is it known."""
    veto = enforce(ODD).veto()
    assert veto.advance("12") is None
    assert veto.finish() is not None
    assert veto.advance("3") is None
    assert veto.finish() is None


def test_text_that_is_no_json_is_objected_to() -> None:
    """Where nothing but the veto reads, too."""
    violation = enforce({"uniqueItems": True}).veto().advance("[1,, 2]")
    assert violation is not None
    assert violation.keyword == "json"


def test_without_residuals_the_veto_never_objects() -> None:
    """The mask does all the work."""
    veto = enforce({"type": "integer"}).veto()
    assert veto.advance("not even JSON") is None
    assert veto.finish() is None
