"""Grammars in parts: the same language as in one piece, at every step, and compiled once for all turns."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_turns import Sampler, random_request

from harmony import (
    AnswerFormat,
    Choices,
    HarmonyEncoding,
    JsonSchema,
    Lark,
    ReasoningEffort,
    Regex,
    ToolDescription,
    TurnGrammar,
)
from harmony.errors import ConstraintError, GrammarError
from harmony.runtime import heads
from harmony.runtime.constraint import Constraint, Interruption
from harmony.runtime.grammars import Compiled, Grammars
from harmony.runtime.token_table import TokenTable
from harmony.watch import TurnWatch

SPECIAL = (199_999, 200_002, 200_003, 200_005, 200_006, 200_007, 200_008, 200_012, 200_500)
HEADER = "<|channel|>final<|message|>"


@pytest.fixture(scope="module")
def sampler(grammars: Grammars, encoding: HarmonyEncoding) -> Sampler:
    return Sampler(grammars, encoding)


def random_turn(random: Random) -> TurnGrammar:
    """Any tools, built-in ones, tool choice, kind of answer, channels and effort."""
    request = random_request(random)
    answers: list[AnswerFormat | None] = [
        None if request.schema is None else JsonSchema(request.schema),
        Choices(("yes", "yesterday", "")),
        Regex("[a-f]{3,5}|(?s:.)é*"),
        Lark('start: "(" start ")" | "x"'),
    ]
    calls = request.tool_choice in ("auto", "none")
    channels = [("analysis", "commentary", "final"), ("commentary", "final"), ("analysis", "final")]
    return TurnGrammar.of(
        request.functions,
        request.builtins,
        tool_choice=request.tool_choice,
        response=random.choice(answers),
        channels=random.choice([*channels, *[("final",)] * calls]),
        reasoning=random.choice([None, *ReasoningEffort]),
        preambles=random.random() < 0.7,
    )


@dataclass
class Twins:
    """One turn in parts and in one piece, which must never differ."""

    parted: Constraint
    whole: Constraint

    def check(self, probes: list[list[int]], *, forced: bool) -> None:
        """Whatever can be asked gives the same; `forced` before the mask, or not at all."""
        parted, whole = self.parted, self.whole
        assert parted.ended == whole.ended
        if forced:
            assert parted.forced() == whole.forced()
        assert np.array_equal(parted.mask(), whole.mask())
        for probe in probes:
            assert parted.allowed(probe) == whole.allowed(probe), probe

    def both(self, name: str, *arguments: Any) -> Any:
        """Do the same with both."""
        one, other = (getattr(twin, name)(*arguments) for twin in (self.parted, self.whole))
        if isinstance(one, Constraint):
            return Twins(one, other)
        assert np.array_equal(one, other)
        return one


@settings(max_examples=60)
@given(st.integers(0, 1_000_000))
def test_the_language_is_that_of_the_whole_grammar(
    grammars: Grammars, encoding: HarmonyEncoding, sampler: Sampler, seed: int
) -> None:
    """Masks, forced tokens, what is allowed, drafts and ends, at every step of walks with ways back."""
    random = Random(seed)
    grammar = random_turn(random)
    ending = tuple(encoding.encode(grammar.reasoning_end, allowed_special="all"))
    options: dict[str, Any] = {
        "guarded": random.random() < 0.5,
        "interruption": random.choice([None, Interruption(random.randrange(12), ending)]),
        "watch": TurnWatch(grammar.watched) if grammar.watched else None,
    }
    twins = Twins(
        Constraint(grammars, grammar.text, parts=grammar.parts, **options),
        Constraint(grammars, grammar.text, **options),
    )
    for _ in range(random.randrange(50)):
        try:
            mask = twins.whole.mask()
        except ConstraintError as error:
            with pytest.raises(type(error)):
                twins.parted.mask()
            return
        token = sampler.draw(mask, random, 0.4)
        illegal = random.randrange(201_088)
        octets = [octet for octet in random.sample(grammars.table.octets, 8) if twins.whole.allowed([octet])]
        draft = [*twins.whole.forced(), token]
        probes = [[illegal, token], [token, illegal], [token, *SPECIAL[:1]], [token, *ending], draft]
        twins.check([*probes, *([special] for special in SPECIAL)], forced=random.random() < 0.5)
        if twins.whole.ended:
            return
        if random.random() < 0.1:
            twins.both("draft_masks", [token, random.choice([*octets, illegal])])
        if random.random() < 0.1:
            twins.both("rollback", random.randrange(len(twins.whole.tokens) + 1))
        elif random.random() < 0.2 and (forced := twins.whole.forced()):
            twins.both("accept", *forced)
        elif twins.both("take", random.choice([token, *octets[:1]])) and random.random() < 0.1:
            twins.both("refuse", twins.whole.tokens[-1])
        if random.random() < 0.1:
            twins.both("copy").both("accept", *twins.whole.forced())
            twins = twins.both("copy")


@settings(max_examples=30)
@given(st.integers(0, 1_000_000))
def test_an_illegal_token_ends_both(grammars: Grammars, sampler: Sampler, seed: int) -> None:
    """In a head, a text or a body: it raises, and so does all that comes after."""
    random = Random(seed)
    grammar = random_turn(random)
    constraint = Constraint(grammars, grammar.text, parts=grammar.parts)
    for _ in range(random.randrange(25)):
        if not constraint.ended:
            constraint.take(sampler.draw(constraint.mask(), random, 0.4))
    if constraint.ended:
        return
    illegal = next(t for t in iter(lambda: random.randrange(201_088), None) if not constraint.allowed([t]))
    count = len(constraint.tokens)
    with pytest.raises(ConstraintError, match=f"after {count} tokens"):
        constraint.accept(illegal)
    for use in (constraint.mask, constraint.forced, constraint.copy, lambda: constraint.ended):
        with pytest.raises(ConstraintError):
            use()


def test_a_character_that_is_cut_is_gone_on_with(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Within text only bytes that make UTF-8 may follow the first ones, and no end."""
    grammar = TurnGrammar.of()
    for beginning in ("é", "日", "😀", "\ud7ff"):
        twins = Twins(
            Constraint(grammars, grammar.text, parts=grammar.parts), Constraint(grammars, grammar.text)
        )
        twins.both("accept", *encoding.encode(HEADER, allowed_special="all"))
        for octet in beginning.encode():
            twins.both("accept", encoding.token_bytes.index(bytes([octet])))
            twins.check([[200_002], [17], *([octet] for octet in grammars.table.octets)], forced=True)


def tool(name: str, **properties: Any) -> ToolDescription:
    parameters = {"type": "object", "properties": properties, "required": [*properties]}
    return ToolDescription.new(name, "", parameters)


@pytest.fixture
def fresh(grammars: Grammars) -> Grammars:
    """Grammars of its own, in which nothing is compiled yet."""
    return Grammars(grammars.table)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grammars that are compiled from now on."""
    texts: list[str] = []
    make = Grammars._compile

    def noted(grammars: Grammars, text: str) -> Compiled:
        texts.append(text)
        return make(grammars, text)

    monkeypatch.setattr(Grammars, "_compile", noted)
    return texts


def begun(grammars: Grammars, grammar: TurnGrammar, *said: int) -> Constraint:
    constraint = Constraint(grammars, grammar.text, parts=grammar.parts)
    constraint.accept(*said)
    return constraint


def test_a_tool_is_compiled_once_for_all_turns(
    fresh: Grammars, encoding: HarmonyEncoding, compiled: list[str]
) -> None:
    """Whatever other tools there are, and whatever the answer is."""
    one, two, three = tool("a", x={"type": "null"}), tool("b", y={"type": "null"}), tool("c")
    call = encoding.encode(" to=functions.a<|channel|>commentary<|message|>", allowed_special="all")
    turns = (
        TurnGrammar.of([one, two]),
        TurnGrammar.of([three, one], response=Choices(("yes",))),
        TurnGrammar.of([one], tool_choice="a", channels=("commentary",)),
    )
    for turn in turns:
        assert begun(fresh, turn, *call).allowed(encoding.encode('{"x":null')) == 4
    fresh._worker.shutdown()
    assert sum('"x"' in text for text in compiled) == 1
    assert not any(text in compiled for text in (turn.text for turn in turns))


def test_a_body_is_compiled_once_no_other_may_come(
    fresh: Grammars, encoding: HarmonyEncoding, compiled: list[str]
) -> None:
    """Before it begins, since its header is still to be written; those of other tools never are."""
    turn = TurnGrammar.of([tool("f", x={"type": "null"}), tool("g", y={"type": "null"})])
    constraint = begun(fresh, turn, *encoding.encode(" to=functions."))
    constraint.mask()
    assert not any("json_schema" in text for text in compiled)
    constraint.accept(*encoding.encode("f"))
    fresh._worker.shutdown()
    assert [text for text in compiled if "json_schema" in text] == [turn.parts.bodies["call_0"].grammar]


def test_a_body_waits_for_no_other(
    fresh: Grammars, encoding: HarmonyEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn begins, and a call of one tool is written, while the compiler is busy with another's."""
    busy, let_go, make = Event(), Event(), Grammars._compile

    def slow(grammars: Grammars, text: str) -> Compiled:
        if "slow" in text:
            busy.set()
            assert let_go.wait(60)
        return make(grammars, text)

    monkeypatch.setattr(Grammars, "_compile", slow)
    turn = TurnGrammar.of([tool("f", slow={"const": 1}), tool("g", quick={"const": 1})])
    begun(fresh, turn, *encoding.encode(" to=functions.f"))
    assert busy.wait(60)
    constraint = Constraint(fresh, turn.text, parts=turn.parts)
    assert constraint.is_compiled
    assert constraint.ready() is constraint
    constraint.accept(
        *encoding.encode(" to=functions.g<|channel|>analysis<|message|>", allowed_special="all")
    )
    assert constraint.allowed(encoding.encode('{"quick"')) > 1
    let_go.set()


def test_what_the_answer_asks_is_refused_at_the_start(fresh: Grammars) -> None:
    """A regular expression that is none is no turn, be it ever so long until the answer."""
    turn = TurnGrammar.of(response=Regex("("))
    for use in (Constraint.mask, Constraint.ready):
        with pytest.raises(GrammarError):
            use(Constraint(fresh, turn.text, parts=turn.parts))


def test_a_body_that_cannot_be_compiled_ends_the_turn_where_it_begins(
    fresh: Grammars, encoding: HarmonyEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the typed error, and there is no going on without its mask; other bodies are not disturbed."""
    make = Grammars._compile

    def refusing(grammars: Grammars, text: str) -> Compiled:
        return make(grammars, "start: missing" if '"x"' in text else text)

    monkeypatch.setattr(Grammars, "_compile", refusing)
    turn = TurnGrammar.of([tool("f", x={"type": "null"}), tool("g", y={"type": "null"})])
    for name, is_refused in (("f", True), ("g", False)):
        constraint = Constraint(fresh, turn.text, parts=turn.parts).ready()
        *head, opening = encoding.encode(
            f" to=functions.{name}<|channel|>analysis<|message|>", allowed_special="all"
        )
        constraint.accept(*head)
        if not is_refused:
            constraint.accept(opening)
            assert constraint.allowed(encoding.encode('{"y"')) > 1
            continue
        with pytest.raises(GrammarError, match="cannot be enforced"):
            constraint.accept(opening)
        for use in (constraint.mask, constraint.forced, lambda held=constraint: held.ended):
            with pytest.raises(ConstraintError):
                use()


def test_a_body_that_failed_is_compiled_anew(
    fresh: Grammars, encoding: HarmonyEncoding, compiled: list[str]
) -> None:
    """It and nothing else: a lexer that is full is not kept."""
    turn = TurnGrammar.of([tool("f", x={"type": "null"})])
    call = encoding.encode(" to=functions.f<|channel|>analysis<|message|>", allowed_special="all")
    constraint = begun(fresh, turn, *call)
    fresh._worker.submit(lambda: None).result()
    compiled.clear()
    with pytest.raises(ConstraintError):
        constraint.accept(17)
    assert begun(fresh, turn, *call).allowed(encoding.encode('{"x"')) > 1
    assert [text for text in compiled if '"x"' in text] == compiled
    assert len(compiled) == 1


def test_places_in_heads_are_bounded(
    fresh: Grammars, encoding: HarmonyEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a header is cut into tokens, no more of its places than that are kept; all stay usable."""
    monkeypatch.setattr(heads, "_MOST", 5)
    turn = TurnGrammar.of([tool("f")])
    constraint = Constraint(fresh, turn.text, parts=turn.parts)
    for octet in b" to=functions.f":
        constraint.accept(encoding.token_bytes.index(bytes([octet])))
        constraint.mask()
    assert encoding.decode(constraint.forced()) == "<|channel|>"


def test_a_small_vocabulary_has_parts_too() -> None:
    """Nothing in it knows of messages: heads and bodies are whatever they are said to be."""
    special = {"<|x|>": 256, "<|y|>": 257, "<|z|>": 258}
    table = TokenTable(
        {bytes([octet]): octet for octet in range(256)}, special, lambda text: [*text.encode()], 300, 258
    )

    @dataclass(frozen=True)
    class Part:
        grammar: str | None
        last: bool
        end: str = "<|y|>"
        awaited: bool = False

    @dataclass(frozen=True)
    class Letter:
        begun: str = "Dear"
        opening: str = "<|x|>"

        @property
        def first(self) -> dict[str, list[list[list[str]]]]:
            return {"any": [[[" "], ["A", "\xc3\xb6"]]], "one": [[[" "], ["B"]]]}

        @property
        def rest(self) -> dict[str, list[list[list[str]]]]:
            return {"one": [[["<|z|>"], [", PS"]]]}

        @property
        def bodies(self) -> dict[str, Part]:
            return {"any": Part(None, last=False), "one": Part('start: "hi"', last=True)}

    constraint = Constraint(Grammars(table), "start: unused", parts=Letter())
    assert bytes(constraint.forced()) == b" "
    constraint.accept(*b" A", 256, *b"words", 257)
    assert constraint.forced() == [*b"Dear", 258, *b", PS", 256, *b"hi", 257]
    constraint.accept(*constraint.forced())
    assert constraint.ended
