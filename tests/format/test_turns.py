"""Turns: counted one message at a time and all at once, and what each rule leaves in context."""

from itertools import accumulate

import pytest
from hypothesis import given
from talk import analysis, final, messages, python, result, user

from harmony import DropRule, Message
from harmony.turns import Turns, in_context

FIRST = [user("Hi"), analysis("Hm."), python("1"), result("1", "python", "analysis"), final("One.")]
SECOND = [user("And?"), analysis("Ah."), final("Two.")]


@given(messages)
def test_all_at_once_is_one_by_one(messages: list[Message]) -> None:
    """After each message both ways of counting say the same."""
    grown = accumulate(messages, lambda turns, m: turns.after(m.author.role, m.channel), initial=Turns())
    assert [*grown] == [Turns.of(messages[:count]) for count in range(len(messages) + 1)]


@pytest.mark.parametrize(
    ("rule", "said", "left_out"),
    [
        (DropRule.NOTHING, [*FIRST, *SECOND], []),
        (DropRule.FINISHED_TURNS, FIRST, []),
        (DropRule.FINISHED_TURNS, [*FIRST, *SECOND], FIRST[1:4]),
        (DropRule.REFERENCE, FIRST, FIRST[1:4]),
        (DropRule.REFERENCE, [*FIRST, *SECOND], FIRST[1:4]),
        (DropRule.REFERENCE, [*FIRST, *SECOND[:2]], []),
    ],
)
def test_a_prompt_leaves_out_what_its_rule_says(
    rule: DropRule, said: list[Message], left_out: list[Message]
) -> None:
    """Everything else stays, in order."""
    assert in_context(said, rule) == [message for message in said if message not in left_out]
