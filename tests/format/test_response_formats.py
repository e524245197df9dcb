"""The `# Response Formats` section is written into instructions and read from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony import Conversation, DeveloperContent, GrammarError, JsonSchema, Message, Role
from harmony.response_formats import split_response_format

if TYPE_CHECKING:
    from harmony import HarmonyEncoding
    from tests.conftest import Oracle

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("a\n/é"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text("a\n#", max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
formats = st.builds(
    JsonSchema,
    name=st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
    schema=st.dictionaries(st.text("a\n#", max_size=3), values, max_size=3),
    description=st.none()
    | st.lists(st.text("a /#"), min_size=1, max_size=3).map("\n".join).filter(str.strip),
)
instructions = (
    st.none() | st.text("ab\n# /", min_size=1) | formats.map(lambda stated: stated.appended_to("x"))
)


def test_the_section_is_that_of_the_format_guide() -> None:
    """Heading, name, description as a comment, compact JSON in the order of its keys."""
    stated = JsonSchema({"type": "object", "properties": {"é": {}}}, "list", "A list\nof things.")
    assert stated.section == (
        '# Response Formats\n\n## list\n\n// A list\n// of things.\n{"type":"object","properties":{"é":{}}}'
    )
    assert JsonSchema({}, "list", "Things.\n\n").section == JsonSchema({}, "list", "Things.").section
    assert stated.appended_to("Be brief.") == f"Be brief.\n\n{stated.section}"
    assert stated.appended_to(None) == stated.appended_to("") == stated.section


@given(instructions, formats)
def test_a_section_is_found_again(before: str | None, stated: JsonSchema) -> None:
    """What was appended is taken out, and writing it again gives the same text."""
    text = stated.appended_to(before)
    rest, found = split_response_format(text)
    assert found is not None
    assert (rest, found.name, found.schema) == (before, stated.name, stated.schema)
    assert found.appended_to(rest) == text


@given(st.text("# Response Formats\n\n## a{}/") | st.just("# Response Formats\n\n## a\n\n{"))
def test_what_is_no_section_stays(text: str) -> None:
    """Whatever is not a whole section at the end is left in the instructions."""
    rest, found = split_response_format(text)
    assert (rest, found) == (text, None) or (found is not None and found.appended_to(rest) == text)


@pytest.mark.parametrize(
    "text",
    [
        '# Response Formats\n\n## a\n\n{"b": 1}',
        "# Response Formats\n\n## a\n\n{}\n",
        '# Response Formats\n\n## a\n\n{"a":NaN}',
        "# Response Formats\n\n## a b\n\n{}",
        "x# Response Formats\n\n## a\n\n{}",
        "# Response Formats\n\n## a\n\n" + '{"a":' * 100_000,
    ],
    ids=["other JSON", "newline", "no JSON", "odd name", "no heading", "too deep"],
)
def test_only_what_we_would_write_is_taken_out(text: str) -> None:
    """Other layouts stay as they are, so that nothing is rewritten."""
    assert split_response_format(text) == (text, None)


@pytest.mark.parametrize("name", ["", "a b", "a\n# Tools", "x" * 65])
def test_a_name_is_a_word(name: str) -> None:
    """Nothing can be smuggled into the prompt by it."""
    with pytest.raises(GrammarError, match="response format"):
        JsonSchema({}, name)


@pytest.mark.parametrize("schema", [{"a": math.nan}, {"a": object()}])
def test_a_schema_is_json(schema: dict[str, Any]) -> None:
    """Anything else raises when it is written."""
    with pytest.raises(GrammarError, match="not JSON"):
        JsonSchema(schema, "p").appended_to(None)


@given(formats, instructions)
def test_the_prompt_stays_the_oracles(
    encoding: HarmonyEncoding, oracle: Oracle, stated: JsonSchema, before: str | None
) -> None:
    """A conversation with a response format renders in openai-harmony to the same tokens."""
    developer = DeveloperContent(instructions=stated.appended_to(before))
    conversation = Conversation(messages=[Message.from_role_and_content(Role.DEVELOPER, developer)])
    assert encoding.render_conversation(conversation) == oracle.render(
        "render_conversation", conversation, drop=True
    )
