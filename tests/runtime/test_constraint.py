"""Constraints: masks, going back, drafts, guards, the cache of grammars, and errors."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from random_turns import Sampler, random_request

from harmony import HarmonyEncoding, JsonSchema, TurnGrammar
from harmony.errors import ConstraintError, DeadEndError, GrammarError
from harmony.runtime.constraint import EVERYTHING, Constraint, fill_masks
from harmony.runtime.grammars import Grammars
from harmony.runtime.masking import mask_logits
from harmony.runtime.token_table import TokenTable, packed, unpacked

TURN = """%llguidance {}
start: <|channel|> "analysis" <|message|> TEXT <|end|> <|start|> "assistant" final
TEXT: /(?s:.*)/
final: <|channel|> "final" <|message|> %json {"type": "array", "items": {"type": "integer"}} <|return|>"""


@pytest.fixture(scope="module")
def sampler(grammars: Grammars, encoding: HarmonyEncoding) -> Sampler:
    return Sampler(grammars, encoding)


def allowed(constraint: Constraint) -> set[int]:
    return set(unpacked(constraint.mask()).tolist())


def test_a_mask_is_exactly_what_the_grammar_accepts(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Where there is a choice, a token is in the mask if and only if it is accepted."""
    constraint = Constraint(grammars, 'start: ("analysis" | "final") <|message|>', guarded=False)
    tried = {*range(0, 201_088, 7), *allowed(constraint)}
    accepted = {token for token in tried if constraint.allowed([token])}
    assert allowed(constraint) == accepted
    assert {encoding.decode([token]) for token in accepted} == {
        *("a", "an", "ana", "anal", "analysis"),
        *("f", "fi", "fin", "final"),
    }


def test_text_allows_all_text_and_one_special_token(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """In analysis every token that can begin UTF-8 is allowed, and of the special tokens `<|end|>` alone."""
    constraint = Constraint(grammars, TURN)
    constraint.accept(*encoding.encode("<|channel|>analysis<|message|>", allowed_special="all"))
    tokens = allowed(constraint)
    assert {token for token in tokens if token >= 199_998} == set(
        encoding.encode("<|end|>", allowed_special="all")
    )
    whole = {token for token in range(199_998) if _is_text(encoding.token_bytes[token])}
    assert whole <= tokens


@pytest.mark.parametrize("written", ["", '"', '"rain, ', '"rain \\n', '"é'])
@pytest.mark.parametrize(
    "schema",
    [
        *({"type": "string", "maxLength": most} for most in (7, 12, 17, 25, 36)),
        {"type": "string", "minLength": 9},
        {"type": "string", "pattern": "^[^x]*$"},
        {"type": ["string", "number"]},
    ],
)
def test_masks_of_strings_are_exact(
    schema: dict[str, object], written: str, grammars: Grammars, encoding: HarmonyEncoding
) -> None:
    """Whatever tokens are allowed in one go, each is one that the grammar accepts, and none is missing."""
    constraint = Constraint(grammars, f"start: %json {json.dumps(schema)}", guarded=False)
    constraint.accept(*encoding.encode(written))
    tokens = allowed(constraint)
    tried = range(0, 201_088, 3)
    assert tokens.intersection(tried) == {token for token in tried if constraint.allowed([token])}


def _is_text(text: bytes) -> bool:
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


def test_forced_tokens_are_the_only_way(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """After `<|end|>` the next message's start needs no model."""
    constraint = Constraint(grammars, TURN)
    constraint.accept(*encoding.encode("<|channel|>analysis<|message|>Hm", allowed_special="all"))
    assert constraint.forced() == []
    constraint.accept(*encoding.encode("<|end|>", allowed_special="all"))
    forced = constraint.forced()
    assert encoding.decode(forced) == "<|start|>assistant<|channel|>final<|message|>"
    assert constraint.allowed(forced) == len(forced)


def test_a_turn_ends(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """After the last token nothing may follow but the end of text; taking it back reopens the turn."""
    constraint = Constraint(grammars, TURN)
    turn = "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>[1]<|return|>"
    constraint.accept(*encoding.encode(turn, allowed_special="all"))
    assert constraint.ended
    assert allowed(constraint) == {199_999}
    constraint.rollback(1)
    assert not constraint.ended
    assert allowed(constraint) == set(encoding.encode("<|return|>", allowed_special="all"))


def test_an_illegal_token_ends_the_constraint(grammars: Grammars) -> None:
    """It raises, and so does whatever comes after: there is no going on without a mask."""
    constraint = Constraint(grammars, TURN)
    with pytest.raises(ConstraintError, match="after 0 tokens"):
        constraint.accept(17)
    for use in (
        constraint.mask,
        constraint.forced,
        lambda: constraint.ended,
        lambda: constraint.accept(200_005),
    ):
        with pytest.raises(ConstraintError):
            use()


def test_no_more_can_be_taken_back_than_there_is(grammars: Grammars) -> None:
    """Rolling back too far is a mistake of the caller."""
    with pytest.raises(ValueError, match="only 0"):
        Constraint(grammars, TURN).rollback(1)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_going_back_equals_a_fresh_start(
    grammars: Grammars, sampler: Sampler, seed: int, steps: list[int]
) -> None:
    """After any tokens and rollbacks, the mask is that of a new constraint that took the rest."""
    random = Random(seed)
    text = random_request(random).grammar.text
    constraint = Constraint(grammars, text)
    for step in steps:
        for _ in range(random.randrange(8)):
            if not constraint.ended:
                constraint.accept(sampler.draw(constraint.mask(), random, 0.4))
        constraint.rollback(min(step, len(constraint.tokens)))
        fresh = Constraint(grammars, text)
        fresh.accept(*constraint.tokens)
        assert np.array_equal(constraint.mask(), fresh.mask())
        assert (constraint.ended, constraint.forced()) == (fresh.ended, fresh.forced())


def test_masks_of_before_do_not_come_back(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Going back and another way gives that way's mask; llguidance 1.9.1's own rollback does not."""
    text = 'start: %json {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}'
    constraint, other = Constraint(grammars, text), Constraint(grammars, text)
    constraint.accept(*encoding.encode("["), *encoding.encode("[]\n"))
    constraint.mask()
    constraint.rollback(len(encoding.encode("[]\n")))
    for one in (constraint, other):
        one.accept(
            *encoding.encode(" [\n") if one is constraint else encoding.encode("[") + encoding.encode(" [\n")
        )
    assert np.array_equal(constraint.mask(), other.mask())


def test_a_copy_goes_its_own_way(grammars: Grammars) -> None:
    """What a copy accepts does not move the original, nor does the original's mask change the copy's."""
    one = Constraint(grammars, 'start: "ab" | "cd"')
    two = one.copy()
    mask = two.mask().copy()
    one.accept(*one.tokenized("a"))
    assert np.array_equal(two.mask(), mask)
    assert not np.array_equal(one.mask(), mask)
    assert (len(one.tokens), len(two.tokens)) == (1, 0)


def test_going_back_far(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Hundreds of tokens, to places long before those that are kept."""
    constraint = Constraint(grammars, 'start: %json {"type": "array", "items": {"type": "integer"}}')
    tokens = encoding.encode("[" + "17, " * 400)
    for kept in (700, 130, 128, 64, 63, 1, 0):
        constraint.rollback(len(constraint.tokens))
        constraint.accept(*tokens)
        constraint.rollback(len(tokens) - kept)
        fresh = Constraint(grammars, 'start: %json {"type": "array", "items": {"type": "integer"}}')
        fresh.accept(*tokens[:kept])
        assert constraint.tokens == fresh.tokens
        assert np.array_equal(constraint.mask(), fresh.mask())


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 30), st.lists(st.booleans(), max_size=8))
def test_masks_of_a_draft_are_those_of_its_tokens(
    grammars: Grammars, sampler: Sampler, seed: int, before: int, legal: list[bool]
) -> None:
    """Row k is the mask after k tokens of the draft; rows after a token that is not allowed are open."""
    random = Random(seed)
    text = random_request(random).grammar.text
    constraint, plain = Constraint(grammars, text), Constraint(grammars, text)
    for _ in range(before):
        if not plain.ended:
            plain.accept(sampler.draw(plain.mask(), random, 0.3))
    constraint.accept(*plain.tokens)
    draft, rows = [], [plain.mask().copy()]
    for is_legal in legal:
        good = sampler.draw(plain.mask(), random, 0.3)
        bad = next(t for t in iter(lambda: random.randrange(201_088), None) if not plain.allowed([t]))
        draft.append(good if is_legal else bad)
        if not is_legal or plain.ended:
            break
        plain.accept(good)
        rows.append(plain.mask().copy())
        if plain.ended:
            break
    masks = constraint.draft_masks(draft)
    assert len(masks) == len(draft) + 1
    assert np.array_equal(masks[: len(rows)], rows)
    assert (masks[len(rows) :] == EVERYTHING).all()
    assert np.array_equal(constraint.mask(), rows[0])


def test_rows_of_a_batch(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Each row is its generation's mask, and one without a grammar is reset even in a used buffer."""
    one, two = Constraint(grammars, TURN), Constraint(grammars, TURN)
    two.accept(*encoding.encode("<|channel|>", allowed_special="all"))
    masks = np.zeros((3, grammars.table.words), np.int32)
    for _ in range(2):
        fill_masks([one, None, two], masks)
        assert np.array_equal(masks[0], one.mask())
        assert (masks[1] == EVERYTHING).all()
        assert np.array_equal(masks[2], two.mask())
        one, two = two, one


@pytest.mark.parametrize("width", [300, 320, 350])
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_outside_the_mask_are_minus_infinity(
    width: int, batch: int | None, dtype: torch.dtype
) -> None:
    """One row or several, logits narrower or wider than the mask; the given tensor is left alone."""
    shape = (width,) if batch is None else (batch, width)
    logits = torch.randn(shape).to(dtype)
    before = logits.clone()
    kept = [[0, 31, 32, 299], [5], list(range(300))][: batch or 1]
    masks = np.stack([packed(tokens, 10) for tokens in kept])
    masked = mask_logits(logits, masks[0] if batch is None else torch.from_numpy(masks))
    assert torch.equal(logits, before)
    assert masked.dtype == dtype
    for row, old, tokens in zip(masked.view(-1, width), before.view(-1, width), kept, strict=True):
        assert row.isfinite().nonzero().flatten().tolist() == tokens
        assert torch.equal(row[tokens], old[tokens])


@given(st.sets(st.integers(0, 319)))
def test_packing_and_unpacking_are_inverse(tokens: set[int]) -> None:
    """The bits of a mask are its tokens."""
    assert unpacked(packed(tokens, 10)).tolist() == sorted(tokens)


@dataclass(frozen=True)
class AtMost:
    """A watch that objects to a token the third time it comes."""

    token: int
    left: int = 2

    def after(self, token: int) -> AtMost | None:
        if token != self.token:
            return self
        return AtMost(self.token, self.left - 1) if self.left else None


class TestRefusals:
    """Tokens of the mask that are taken back."""

    def test_a_token_that_is_objected_to_leaves_the_mask(self) -> None:
        """At that place alone; nothing else changes."""
        a, b, c = b"abc"
        constraint = Constraint(Grammars(_toy_table()), "start: /[abc]{6}/", watch=AtMost(a))
        assert constraint.take(a)
        assert constraint.take(a)
        assert not constraint.take(a)
        assert allowed(constraint) == {b, c}
        assert constraint.tokens == [a, a]
        assert constraint.allowed([b, a, c]) == 1
        assert constraint.take(b)
        assert allowed(constraint) == {a, b, c}
        copied = constraint.copy()
        constraint.rollback(2)
        assert constraint.allowed([a, a]) == 1
        assert copied.allowed([a]) == 0

    def test_what_is_forced_ends_before_an_objection(self) -> None:
        """No token is forced that must not come."""
        constraint = Constraint(Grammars(_toy_table()), 'start: "xaaay"', watch=AtMost(ord("a")))
        assert bytes(constraint.forced()) == b"xaa"
        constraint.accept(*constraint.forced())
        assert constraint.forced() == []
        assert not constraint.take(ord("a"))
        with pytest.raises(DeadEndError, match="3 tokens"):
            constraint.mask()


class TestGuards:
    """Each takes tokens from a mask when a model runs away, and never the last ones."""

    def test_one_token_comes_at_most_32_times_in_a_row(
        self, grammars: Grammars, encoding: HarmonyEncoding
    ) -> None:
        """The 33rd is masked, another token makes it free again."""
        constraint, (ha,) = Constraint(grammars, "start: /(?s:.*)/"), encoding.encode("ha")
        constraint.accept(*[ha] * 31)
        assert ha in allowed(constraint)
        constraint.accept(ha)
        assert ha not in allowed(constraint)
        constraint.accept(ha + 1)
        assert ha in allowed(constraint)

    def test_blanks_end(self, grammars: Grammars, encoding: HarmonyEncoding) -> None:
        """After 32 tokens of white space, whichever, something else must come."""
        constraint = Constraint(grammars, "start: /(?s:.*)/")
        newline, blanks = encoding.encode("\n")[0], encoding.encode("     ")[0]
        constraint.accept(*[newline, blanks] * 16)
        assert not {newline, blanks, *encoding.encode("\t")} & allowed(constraint)
        assert encoding.encode("x")[0] in allowed(constraint)

    def test_numbers_of_json_end(self, grammars: Grammars, encoding: HarmonyEncoding) -> None:
        """After more than 20 digits a number goes on as a fraction or ends; digits in text are free."""
        digits = encoding.encode("123" * 7)
        number, text = (
            Constraint(grammars, f"start: {body}") for body in ('%json {"type": "number"}', "/.*/")
        )
        number.accept(*digits[:-1])
        assert digits[0] in allowed(number)
        number.accept(digits[-1])
        assert digits[0] not in allowed(number)
        assert encoding.encode(".")[0] in allowed(number)
        text.accept(*digits)
        assert digits[0] in allowed(text)

    def test_nothing_is_taken_when_nothing_else_is_allowed(
        self, grammars: Grammars, encoding: HarmonyEncoding
    ) -> None:
        """What a grammar asks for comes through: 40 digits, 40 times the same token, 40 line ends."""
        for text, pattern in (
            ("123456789012" * 10, "[0-9]{120}"),
            ("ha" * 40, "(ha){40}"),
            ("\n \n" * 40, r"(\n \n){40}"),
        ):
            constraint = Constraint(grammars, f"start: /{pattern}/")
            for token in encoding.encode(text):
                assert token in allowed(constraint)
                constraint.accept(token)

    def test_guards_can_be_left_off(self, grammars: Grammars, encoding: HarmonyEncoding) -> None:
        """The mask is then the grammar's own."""
        constraint, (ha,) = Constraint(grammars, "start: /(?s:.*)/", guarded=False), encoding.encode("ha")
        constraint.accept(*[ha] * 40)
        assert ha in allowed(constraint)


def test_a_grammar_that_failed_is_compiled_anew(grammars: Grammars) -> None:
    """What used up its lexer, or was led astray, does not stay for the requests after it."""
    text = "start: /[ab]{3}/"
    before = grammars.compiled(text)
    constraint = Constraint(grammars, text)
    with pytest.raises(ConstraintError):
        constraint.accept(*constraint.tokenized("ccc"))
    assert grammars.compiled(text) is not before
    assert Constraint(grammars, text).allowed(constraint.tokenized("abb")) > 0


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    """The same text gives the same compiled grammar, and copies do not disturb each other."""
    assert grammars.compiled(TURN) is grammars.compiled(TURN)
    one, two = Constraint(grammars, TURN), Constraint(grammars, TURN)
    one.accept(200_005)
    assert allowed(two) == {200_005}


def test_kept_grammars_are_bounded(grammars: Grammars) -> None:
    """The one that was not asked for longest goes first."""
    few = Grammars(_toy_table(), kept=2)
    first = few.compiled('start: "a"')
    few.compiled('start: "b"')
    assert few.compiled('start: "a"') is first
    few.compiled('start: "c"')
    assert few.compiled('start: "a"') is first
    few.compiled('start: "d"')
    few.compiled('start: "e"')
    assert few.compiled('start: "a"') is not first


@pytest.mark.parametrize("response", [None, JsonSchema({"type": "array", "items": {"type": "string"}})])
def test_slices_change_no_mask(
    grammars: Grammars, encoding: HarmonyEncoding, response: JsonSchema | None
) -> None:
    """A grammar of texts is compiled with fewer of them, and every mask of a turn stays what it was."""
    text = TurnGrammar.of(response=response).text
    constraint = Constraint(grammars, text, guarded=False)
    unsliced = LLMatcher(grammars.compiled(text).result().tokenizer.with_slices([]), text)
    turn = (
        "<|channel|>analysis<|message|>Naïve 漢字\n\n 1<|end|><|start|>assistant<|channel|>final"
        f"{' json' if response else ''}<|message|>"
        '["a b", ""]<|return|>'
    )
    for token in encoding.encode(turn, allowed_special="all"):
        mask = constraint.mask().tobytes()
        assert mask == unsliced.compute_bitmask()[: len(mask)]
        constraint.accept(token)
        assert unsliced.consume_token(token)


def _toy_table() -> TokenTable:
    return TokenTable(
        {bytes([octet]): octet for octet in range(256)},
        {"<|x|>": 256},
        lambda text: [*text.encode()],
        300,
        256,
    )


def test_a_small_vocabulary_works_too() -> None:
    """Bytes as tokens, a size that is no multiple of 32: ids beyond the vocabulary are never allowed."""
    constraint = Constraint(Grammars(_toy_table()), 'start: "ab"')
    assert constraint.mask().shape == (10,)
    assert allowed(constraint) == {ord("a")}
    constraint.accept(*b"ab")
    assert constraint.ended


@pytest.mark.parametrize("text", ["", "start: missing", 'start: "a', "start: /(/", "start: <|unknown|>"])
def test_what_is_no_grammar_is_refused(text: str, grammars: Grammars) -> None:
    """The error is typed, one line long, and comes when the grammar is needed, or waited for."""
    for use in (Constraint.mask, Constraint.ready):
        constraint = Constraint(grammars, text)
        with pytest.raises(GrammarError) as raised:
            use(constraint)
        assert "\n" not in str(raised.value)


def test_a_large_grammar_gets_more_room(grammars: Grammars) -> None:
    """What outgrows the compiler's default limits, here by intersections, is compiled within larger ones."""
    parts = " & ".join(f"/(?s:.*){word}(?s:.*)/" for word in ("abc", "bcd", "qqq"))
    assert len(Constraint(grammars, f"start: W\nW: {parts} & /.{{100,2000}}/").mask()) == grammars.table.words


def test_a_mask_within_a_turn_gets_more_room(
    grammars: Grammars, encoding: HarmonyEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What outgrows the default limit of a single step, here by the ways to find a pattern, goes on."""

    def walk() -> None:
        constraint = Constraint(grammars, 'start: %json {"type": "string", "pattern": "(a|b).{40}(a|c)"}')
        for token in encoding.encode('"aaabacabcabcbabcbabcabcabcabc abc abc abc'):
            constraint.mask()
            constraint.accept(token)

    with monkeypatch.context() as usual:
        usual.setattr("harmony.runtime.grammars._ROOM", 1)
        with pytest.raises(ConstraintError, match="too many expressions"):
            walk()
    walk()


def test_without_llguidance_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who asks for a grammar needs it."""
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(GrammarError, match=r"gpt-oss-harmony\[local\]"):
        Grammars(_toy_table())
