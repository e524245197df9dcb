"""Grammars for llama.cpp: they let follow whatever our constraint does."""

from contextlib import suppress
from random import Random
from typing import Any

import pytest
from gbnf_reader import Gbnf
from hypothesis import given, settings
from hypothesis import strategies as st
from random_turns import Sampler, random_request
from schema_strategies import schemas

from harmony import Choices, JsonSchema, Lark, Regex, ToolDescription, TurnGrammar, load_encoding
from harmony.agent.grammars import turn_constraint
from harmony.errors import DeadEndError, GrammarError
from harmony.formats import AnswerFormat
from harmony.runtime.constraint import Constraint
from harmony.runtime.dialects import LlamaCpp
from harmony.runtime.gbnf import gbnf
from harmony.runtime.generation import SamplingParams
from harmony.runtime.grammars import Grammars

ENCODING = load_encoding()
SIZE = 201_088
ENDS = frozenset((199_999, 200_002, 200_012))
PIECES = ENCODING.token_bytes


def tokens(text: str) -> list[int]:
    return ENCODING.encode(text, allowed_special="all")


def read(text: str | None) -> Gbnf:
    assert text is not None
    return Gbnf(text, PIECES, ENDS)


def walk(constraint: Constraint, sampler: Sampler, random: Random, most: int = 150) -> None:
    """Check each token of a random turn by the grammar of the whole, and that of the rest at some places."""
    readers = [read(gbnf(constraint, ENDS))]
    for _ in range(most):
        if constraint.ended:
            return
        token = sampler.draw(constraint.mask(), random, closing=0.3)
        if not PIECES[token] or PIECES[token][0] == 0 or not constraint.take(token):
            continue
        written = ENCODING.decode(constraint.tokens)
        for reader in readers:
            assert reader.accepts(token), f"{written!r} is refused at its last token, {token}"
        if random.random() < 0.1 and not constraint.ended:
            rest = gbnf(constraint, ENDS)
            assert rest is not None or "\ufffd" in written[-1:], f"there is no grammar behind {written!r}"
            readers = [readers[0], *([] if rest is None else [read(rest)])]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_it_takes_whatever_the_constraint_takes(grammars: Grammars, seed: int) -> None:
    """Random turns with random tools and schemas."""
    random = Random(seed)
    constraint = turn_constraint(random_request(random).grammar, SIZE)
    walk(constraint, Sampler(grammars, ENCODING), random)


@settings(max_examples=60)
@given(schemas(), st.integers(0, 2**32))
def test_any_schema(grammars: Grammars, schema: dict[str, Any], seed: int) -> None:
    """Answers by schemas of every keyword, from their first token on."""
    try:
        grammar = TurnGrammar.of(response=JsonSchema(schema), channels=("final",))
    except GrammarError:
        return
    with suppress(DeadEndError):
        walk(turn_constraint(grammar, SIZE), Sampler(grammars, ENCODING), Random(seed))


FORMATS: list[AnswerFormat] = [
    Regex(r"\w+\s[^\W\d]+\S.\D"),
    Regex(r"(?s:.*)[a-f]{2,300}/\d{3}"),
    Regex("日本?(語|é)+"),
    Choices(("yes", "no", "no way", 'say "no"', "")),
    Lark('start: piece? square ("x" | "-") square\npiece: /[KQRBN]/\nsquare: /[a-h][1-8]/'),
    Lark('start: "(" start* ")"'),
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", range(5))
def test_any_format(grammars: Grammars, format: AnswerFormat, seed: int) -> None:
    """Regular expressions with classes that hold more than ASCII, choices, grammars."""
    grammar = TurnGrammar.of(response=format, channels=("final",))
    walk(turn_constraint(grammar, SIZE), Sampler(grammars, ENCODING), Random(seed))


@pytest.mark.parametrize("text", ["🦙", "日本語", "naïve 👩‍👩‍👧", "\x7f", "<|end|>"])
def test_free_text(text: str) -> None:
    """Any character in tokens of any cut, and special tokens that are spelled out."""
    constraint = turn_constraint(TurnGrammar.of(), SIZE)
    written = [*tokens("<|channel|>analysis<|message|>"), *ENCODING.encode(text, disallowed_special=())]
    octets = [PIECES.index(bytes([octet])) for octet in text.encode()]
    for turn in (written, [*written[:3], *octets]):
        reader = read(gbnf(constraint, ENDS))
        assert all(
            map(reader.accepts, [*turn, *tokens("<|end|><|start|>assistant<|channel|>final<|message|>")])
        )


@pytest.mark.parametrize(
    "text", [*(f'"\\{mark}' for mark in 'nrbtf\\"/u'), '"\x7f', '"é', '"\u2028', " 1", "-1"]
)
def test_json(text: str) -> None:
    """What begins a value: it is taken if the constraint takes it."""
    constraint = turn_constraint(TurnGrammar.of(response=JsonSchema({}), channels=("final",)), SIZE)
    header, body = tokens("<|channel|>final<|message|>"), [PIECES.index(bytes([o])) for o in text.encode()]
    constraint.accept(*header)
    reader = read(gbnf(constraint, ENDS))
    legal = constraint.allowed(body)
    assert all(map(reader.accepts, body[:legal]))


@pytest.mark.parametrize(
    ("said", "follows"),
    [
        ("", "<|message|>"),
        ("", "final"),
        ("<|channel|>", "commentary to=functions.g"),
        ("<|channel|>analysis<|message|>Hm", "<|call|>"),
        ("<|channel|>commentary to=functions.f", "<|end|>"),
        ("<|channel|>commentary to=functions.f<|message|>", '["'),
        ("<|channel|>commentary to=functions.f<|message|>", '{"town'),
        ("<|channel|>commentary to=functions.f<|message|>", '{"city": "Rome", "unit": "k"'),
        ("<|channel|>commentary to=functions.f<|message|>", '{"city": "Rome"} '),
        ("<|channel|>commentary to=functions.f<|message|>", '{"city": "Rome"}<|end|>'),
    ],
)
def test_what_it_refuses(said: str, follows: str) -> None:
    """Headers, keys, enumerations, ends: what a model gets wrong."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    constraint = turn_constraint(TurnGrammar.of([ToolDescription.new("f", "", schema)]), SIZE)
    readers = [read(gbnf(constraint, ENDS))]
    constraint.accept(*tokens(said))
    assert all(map(readers[0].accepts, tokens(said)))
    for reader in [*readers, read(gbnf(constraint, ENDS))]:
        assert not all(map(reader.accepts, tokens(follows)))


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ('start: start "a" | "b"', b""),  # llama.cpp refuses left recursion
        ('start: ("a"?)*', b""),  # which that is, as it writes repetitions
        ('start: "a" <|end|> "b"', b""),  # nothing may follow where the model ends
        (r'start: "a" /\x00/', b""),  # no token of it may come
        ('start: "é"', "é".encode()[:1]),  # within a character
        ("start: /(?i:a)+/ | /b/", b"a"),  # what could not be read may have ended
    ],
)
def test_where_there_is_none(byte_grammars: Grammars, grammar: str, said: bytes) -> None:
    """The server would refuse it, or have nothing to choose from."""
    constraint = Constraint(byte_grammars, grammar)
    constraint.accept(*said)
    assert gbnf(constraint, [256]) is None


def test_hundreds_of_optional_properties() -> None:
    """They are nested too deep to be written, which is no error."""
    properties = {f"p{number}": {"type": "string"} for number in range(400)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    grammar = TurnGrammar.of(response=JsonSchema(schema), channels=("final",))
    assert gbnf(turn_constraint(grammar, SIZE), ENDS) is None


def test_hundreds_of_choices() -> None:
    """They are any text to the server, which would take seconds for them."""
    words = tuple(f"word {number}" for number in range(300))
    text = gbnf(turn_constraint(TurnGrammar.of(response=Choices(words)), SIZE), ENDS)
    assert text is not None
    assert "word" not in text
    assert all(map(read(text).accepts, tokens("<|channel|>final<|message|>word 299<|return|>")))


def test_what_is_alike_is_written_once() -> None:
    """A grammar of many tools is little longer than one of few."""
    properties = {f"p{n}": {"type": "string", "maxLength": 9} for n in range(8)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    grammar = TurnGrammar.of([ToolDescription.new(f"f{number}", "", schema) for number in range(32)])
    text = gbnf(turn_constraint(grammar, SIZE), ENDS)
    assert text is not None
    rules = [line.partition(" ::= ")[2] for line in text.splitlines()]
    assert len(set(rules)) == len(rules) < 200


@pytest.mark.parametrize(
    ("build", "takes"),
    [("b7699-1a2b3c4", False), ("b7700-1a2b3c4", True), ("b0-unknown", True), (None, True)],
)
def test_which_servers_get_one(build: str | None, takes: bool) -> None:
    """Not those of builds that know no tokens in grammars; who does not say its build is asked."""
    props = {"default_generation_settings": {"n_ctx": 8}, "build_info": build}
    server = LlamaCpp.of(props)
    constraint = turn_constraint(TurnGrammar.of(), SIZE)
    assert ("grammar" in server.body([1], SamplingParams(), (), 1, {}, constraint)) is takes
    assert "grammar" not in server.body([1], SamplingParams(), (), 1, {})


def test_a_rule_that_leads_to_itself(grammars: Grammars) -> None:
    """It is a dead end among others, which is left out."""
    format = Lark('start: "ok" | a "b"\na: a\n')
    constraint = turn_constraint(TurnGrammar.of((), (), response=format, channels=("final",)), SIZE)
    assert "ok" in gbnf(constraint, ENDS)
