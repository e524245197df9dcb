"""What looks on while a turn is written: it finds the JSON of a schema in it, and passes objections on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harmony import HarmonyEncoding
from harmony.schemas import EnforcedSchema, Veto
from harmony.watch import ANSWER, TurnWatch


@dataclass
class NoSevens(Veto):
    """Objects to sevens, and at the end to a text without an eight."""

    text: str = ""

    def copy(self) -> NoSevens:
        return NoSevens(self.text)

    def advance(self, text: str) -> object | None:
        self.text += text
        return "a seven" if "7" in text else None

    def finish(self) -> object | None:
        return None if "8" in self.text else "no eight"


class Watched(EnforcedSchema):
    def veto(self) -> Veto:
        return NoSevens()


SCHEMA = Watched("{}", ("something",), None, None)


def objection(encoding: HarmonyEncoding, turn: str, *watched: str) -> str | None:
    """The text up to the token that is objected to, if one is."""
    watch: TurnWatch | None = TurnWatch(dict.fromkeys(watched, SCHEMA))
    tokens = encoding.encode(turn, allowed_special="all")
    for position, token in enumerate(tokens):
        assert watch is not None
        before, watch = watch, watch.after(token)
        if watch is None:
            assert before.after(encoding.encode(" 8")[0])
            return encoding.decode(tokens[: position + 1])
    return None


FINAL = "<|channel|>final <|constrain|>json<|message|>"
CALLS = (
    "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
    " to=functions.f<|channel|>analysis code<|message|>",
    "<|channel|>analysis<|message|>7 to=functions.g 7<|end|><|start|>assistant"
    " to=functions.f<|channel|>commentary<|message|>",
)


@pytest.mark.parametrize("header", CALLS)
def test_a_call_is_watched(encoding: HarmonyEncoding, header: str) -> None:
    """Whatever the order of its header; reasoning before it is not."""
    assert objection(encoding, f"{header}[8, é 😀, 7]<|call|>", "functions.f") == f"{header}[8, é 😀, 7"
    assert objection(encoding, f"{header}[8]<|call|>", "functions.f") is None
    assert objection(encoding, f"{header}[6]<|call|>", "functions.f") == f"{header}[6]<|call|>"


def test_the_answer_is_watched(encoding: HarmonyEncoding) -> None:
    """The final channel, and nothing of calls when they are not named."""
    assert objection(encoding, f"{FINAL}[7]<|return|>", ANSWER) == f"{FINAL}[7"
    assert objection(encoding, f"{FINAL}[7]<|return|>", "functions.f") is None
    assert objection(encoding, f"{CALLS[0]}[7]<|call|>", ANSWER, "functions.g") is None
