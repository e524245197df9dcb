"""Masks that are taken without asking the compiler are ones that it takes."""

from __future__ import annotations

import json
from typing import Any

import llguidance
from hypothesis import given
from hypothesis import strategies as st

from harmony.schemas.compiler import OPTIONS, is_plain

names = st.text(max_size=3)


def _objects(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required, others: {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": others,
        },
        st.dictionaries(names, below, max_size=4),
        st.lists(names, max_size=3),
        st.booleans(),
    )


masks = st.recursive(
    st.sampled_from([True, False])
    | st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda name: {"type": name})
    | st.lists(st.text(max_size=3), min_size=1, max_size=4).map(
        lambda texts: {"type": "string", "enum": texts}
    ),
    lambda below: (
        _objects(below)
        | below.map(lambda items: {"type": "array", "items": items})
        | st.lists(below, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})
    ),
    max_leaves=12,
)


@given(masks)
def test_plain_masks_compile(mask: Any) -> None:
    """Whatever is plain has a value, and no complaint."""
    if is_plain(mask) and isinstance(mask, dict):
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps({**mask, "x-guidance": OPTIONS}))
        assert llguidance.LLMatcher.validate_grammar(grammar) == ""
