"""Numbers of JSON as symbols, each with an example that keeps to the bounds of its schema."""

import json
from collections.abc import Iterator, Mapping
from math import ceil, floor
from typing import Any, Final

from harmony.runtime.closing.regexes import whole_match
from harmony.runtime.closing.symbols import Choice, Example, Symbol, Text

_ANY: Final = {
    "integer": whole_match(r"^-?(?:0|[1-9][0-9]*)$"),
    "number": whole_match(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"),
}


def number(kind: str, schema: Mapping[str, Any]) -> Symbol:
    """What a schema accepts of the type "number" or "integer"."""
    low = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    high = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    step = schema.get("multipleOf")
    if low is None and high is None and step is None:
        return _ANY[kind]
    candidates = sorted(set(_near(low, high, step)), key=lambda text: (len(text), text))
    fitting = [text for text in candidates if _fits(json.loads(text), kind, schema)]
    begun = Choice((*map(Text, fitting), _large(kind, low) if low is not None and low >= 1 else _ANY[kind]))
    return Example(begun, fitting[0]) if fitting else begun


def _large(kind: str, low: float) -> Symbol:
    """Numbers with as many digits as their lower bound has, or more."""
    fraction = "" if kind == "integer" else r"(?:\.[0-9]+)?"
    return whole_match(rf"^[1-9][0-9]{{{len(str(floor(low))) - 1},}}{fraction}$")


def _near(low: float | None, high: float | None, step: float | None) -> Iterator[str]:
    """Numbers that a bound or a step might leave, as JSON."""
    yield from ("0", "1", "-1")
    for bound in (low, high):
        if bound is not None:
            yield json.dumps(bound)
            yield from map(json.dumps, (floor(bound), ceil(bound), floor(bound) + 1, ceil(bound) - 1))
            if step:
                times = floor(bound / step)
                yield from (json.dumps(step * n) for n in (times - 1, times, times + 1, times + 2))
    if low is not None and high is not None:
        yield json.dumps((low + high) / 2)
    if step:
        yield json.dumps(step)


def _fits(value: float, kind: str, schema: Mapping[str, Any]) -> bool:
    step = schema.get("multipleOf")
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and value > schema.get("exclusiveMinimum", value - 1)
        and value < schema.get("exclusiveMaximum", value + 1)
        and (kind == "number" or value == floor(value))
        and (not step or abs(value / step - round(value / step)) < 1e-9)
    )
