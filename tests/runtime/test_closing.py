"""Ends within a limit: the shortest text of a grammar, what is left of it on the way, and plans that hold."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from random_schemas import PATTERNS, random_schema
from random_turns import FORMATS, Sampler, malformation, random_request, rollout, violation

from harmony import HarmonyEncoding, JsonSchema, Lark, Regex, ToolDescription, TurnGrammar
from harmony.runtime.closing.automaton import NOWHERE, Automaton
from harmony.runtime.closing.closer import Closer
from harmony.runtime.closing.guide import Guide
from harmony.runtime.closing.lark import symbol_of
from harmony.runtime.closing.regexes import found_in, whole_match
from harmony.runtime.closing.schemas import json_of
from harmony.runtime.closing.symbols import Choice, Costs, Repeat, Rule, Sequence, Symbol, Text, Unknown
from harmony.runtime.constraint import Constraint, Interruption
from harmony.runtime.grammars import Grammars
from harmony.vocabulary import CALL, SPECIAL_TOKENS


def shortest(symbol: Symbol, before: str = "") -> str | None:
    """The shortest text that a symbol has, going on with `before`; None when there is none."""
    automaton = Automaton(Costs(symbol))
    endings = automaton.endings(automaton.after(automaton.start, before))
    pieces = next(endings, None)
    return None if pieces is None else "".join(str(piece) for piece in pieces)


def accepts(symbol: Symbol, text: str) -> bool:
    automaton = Automaton(Costs(symbol))
    state = automaton.after(automaton.start, text)
    return "" in ("".join(map(str, pieces)) for pieces in automaton.endings(state))


EXPRESSIONS = (
    *PATTERNS, r"a{2,3}b*", r"(?:ab|c)+d?", r"[^a-y]", r"\d\D\w\W\s\S", r"\x41\u00e9\u{1F600}", r"(?P<n>x)y",
    r"[\]\-a]{2}", "", r"(?s:.)x", r"[a-]", r"\.\/\\", r"(^a+$)|(?:^b)", r"(a|^b)|c$", r"(a)(b)",
)  # fmt: skip


class TestRegularExpressions:
    """Read as `re` reads them."""

    @pytest.mark.parametrize("pattern", EXPRESSIONS)
    def test_the_shortest_match_matches(self, pattern: str) -> None:
        """What is proposed for an expression is a match of it, alone and within a string."""
        text, found = shortest(whole_match(pattern)), shortest(found_in(pattern))
        python = re.sub(r"\\u\{(\w+)\}", r"\\U000\1", pattern)
        assert text is not None
        assert re.search(python, text)
        assert found is not None
        assert re.search(python, found)

    @settings(max_examples=60)
    @given(st.data())
    def test_matches_are_accepted(self, data: st.DataObject) -> None:
        """Every text that `re` matches is accepted, and every beginning of it has an end that matches."""
        pattern = data.draw(st.sampled_from([p for p in EXPRESSIONS if r"\u{" not in p]))
        text = data.draw(st.from_regex(pattern).filter(lambda text: _is_ascii_class(pattern, text)))
        assert accepts(found_in(pattern), text)
        before = text[: data.draw(st.integers(0, len(text)))]
        rest = shortest(found_in(pattern), before)
        assert rest is not None
        assert re.search(pattern, before + rest)

    @pytest.mark.parametrize(
        "pattern", [r"(?=a)", r"(a)\1", r"\bx", r"(?i)a", r"a^b", r"\p{L}", "(", "[a", "[a&&b]"]
    )
    def test_what_is_not_read_is_unknown(self, pattern: str) -> None:
        """Syntax beyond the common part has no shortest text, rather than a wrong one."""
        assert shortest(whole_match(pattern)) is None


def _is_ascii_class(pattern: str, text: str) -> bool:
    """The classes of JSON schemas are those of ASCII, and `$` is the very end."""
    return text.isascii() and not (pattern.endswith("$") and text.endswith("\n"))


class TestSchemas:
    """JSON for a schema, and the rest of JSON that is begun."""

    @settings(max_examples=100)
    @given(st.integers(0, 1_000_000))
    def test_the_shortest_json_is_valid(self, seed: int) -> None:
        """With formats, bounds, patterns, unions and recursion."""
        schema = random_schema(Random(seed))
        text = shortest(json_of(schema))
        assert text is not None
        Draft202012Validator(schema, format_checker=FORMATS).validate(json.loads(text))

    @pytest.mark.parametrize(
        ("schema", "text"),
        [
            ({"type": "array"}, "[]"),
            ({"type": "array", "minItems": 2, "items": {"type": "null"}}, "[null,null]"),
            ({"prefixItems": [{"const": 1}, {"const": 2}], "type": "array", "minItems": 1}, "[1]"),
            ({"type": "string", "minLength": 3}, '"aaa"'),
            ({"type": "integer", "minimum": 12}, "12"),
            ({"type": "integer", "exclusiveMinimum": 9, "multipleOf": 7}, "14"),
            ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0.5"),
            ({"enum": ["long", [1, {"a": 2}], 7]}, "7"),
            ({"const": {"a": [1, 2]}}, '{"a":[1,2]}'),
            ({"anyOf": [{"type": "object", "required": ["x"]}, {"type": "null"}]}, "null"),
            ({"allOf": [{"type": "object", "required": ["a"]}, {"required": ["b"]}]}, '{"a":0,"b":0}'),
            ({"type": "object", "minProperties": 1, "additionalProperties": {"const": 1}}, '{"":1}'),
            ({"type": "object", "properties": {"a": False, "b": True}, "required": ["b"]}, '{"b":0}'),
            ({"$defs": {"x": {"type": "null"}}, "$ref": "#/$defs/x"}, "null"),
            ({"type": "string", "pattern": '^"\\\\$'}, r'"\"\\"'),
            (True, "0"),
            (False, None),
        ],
    )
    def test_the_shortest_json_of(self, schema: Any, text: str | None) -> None:
        """A few by hand."""
        assert shortest(json_of(schema)) == text

    @pytest.mark.parametrize(
        ("before", "rest"),
        [
            ("", '{"name":"","tags":["red"]}'),
            ("{\n", '"name":"","tags":["red"]}'),
            ('{"na', 'me":"","tags":["red"]}'),
            ('{"name" : "An', '","tags":["red"]}'),
            ('{"name":"A\\', '"","tags":["red"]}'),
            ('{"name":"A","age"', ':0,"tags":["red"]}'),
            ('{"name":"A","age":-', '0,"tags":["red"]}'),
            ('{"name":"A","age":12', ',"tags":["red"]}'),
            ('{"name":"A","tags":["gr', 'een"]}'),
            ('{"name":"A","tags":["green", ', '"red"]}'),
            ('{"name":"A","tags":["green"]', "}"),
            ('{"name":"A","tags":["green"],"', 'note":null}'),
            ('{"name":"A","tags":["green"]}', ""),
            ('{"tags"', None),
            ('{"other"', None),
        ],
    )
    def test_the_rest_of_json_that_is_begun(self, before: str, rest: str | None) -> None:
        """Properties in their order, required ones always, strings and numbers finished."""
        schema = {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "age": {"type": "integer"},
                "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1},
                "note": {"type": ["string", "null"], "minLength": 9},
            },
            "required": ["name", "tags"],
            "additionalProperties": False,
        }
        found = shortest(json_of(schema), before)
        assert found == rest or (found or "").replace("a", "") == rest

    def test_a_recursive_schema_ends(self) -> None:
        """However deep it has gone."""
        schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
        assert shortest(json_of(schema)) == "{}"
        assert shortest(json_of(schema), '{"next":' * 40 + "{") == "}" * 41

    def test_references_beside_other_keywords_end(self) -> None:
        """A reference to what contains it, with a sibling."""
        schema = {"type": "object", "properties": {"a": {"$ref": "#", "minProperties": 0}}}
        assert shortest(json_of(schema), '{"a":{"a":') == "{}}}"


class TestGrammars:
    """The Lark dialect, as far as it is read."""

    @pytest.mark.parametrize(
        ("grammar", "text"),
        [
            ('start: "a" ("bb" | /c{2,}/)? "d"+', "ad"),
            ('start: pair{2,3}\npair: X "-" // comment\nX: /[0-9]/ # another', "0-0-"),
            ('%llguidance {"no_forcing": true}\nstart: %json {"type": "null"} "!"', "null!"),
            ('start: a\na: "(" a ")" | "x"', "x"),
            ('start: a\na: a "y" | "x"', "x"),
            ('start: in "."\nin: %lark {\nstart: "{" | x\nx: "longer"\n}', "{."),
            (r'start: "\u00e9\n"', "é\n"),
            ('start: ""', ""),
        ],
    )
    def test_the_shortest_text(self, grammar: str, text: str) -> None:
        """Groups, repetitions, recursion, comments, JSON and nested grammars."""
        assert shortest(symbol_of(grammar, {})) == text

    @pytest.mark.parametrize(
        "grammar", ['start: "a"i', "start: <|x|>", "start: W & X", '%ignore " "\nstart: "a"', "start: ("]
    )
    def test_what_is_not_read_is_unknown(self, grammar: str) -> None:
        """Better no plan than a wrong one."""
        assert isinstance(symbol_of(grammar, {}), Unknown)

    def test_a_rule_that_may_repeat_itself_for_nothing_ends(self) -> None:
        """The way that costs nothing does not lead back to where it began."""
        rule = Rule("r")
        rule.body = Choice((Sequence((rule, rule)), Repeat(rule), Text("")))
        assert shortest(rule) == ""

    def test_a_turn_is_read_whole(self) -> None:
        """Its shortest end is the answer, never a call, unless a call is the only one."""
        tool = ToolDescription.new("f", "")
        for choice, end in (("auto", "<|return|>"), ("required", "<|call|>")):
            costs = Costs(
                symbol_of(TurnGrammar.of([tool], tool_choice=choice).text, SPECIAL_TOKENS), frozenset({CALL})
            )
            pieces = list(costs.shortest(costs.root))
            assert pieces[-1] == SPECIAL_TOKENS[end]


def test_a_text_that_does_not_fit_leads_nowhere() -> None:
    """No stack is left."""
    automaton = Automaton(Costs(json_of({"type": "null"})))
    assert automaton.after(automaton.start, "nul!") == NOWHERE


@pytest.fixture(scope="module")
def sampler(grammars: Grammars, encoding: HarmonyEncoding) -> Sampler:
    return Sampler(grammars, encoding)


@settings(max_examples=40)
@given(st.integers(0, 1_000_000), st.integers(0, 40), st.sampled_from([0.05, 0.2, 0.5]), st.booleans())
def test_every_turn_ends_within_every_limit(
    grammars: Grammars,
    encoding: HarmonyEncoding,
    sampler: Sampler,
    seed: int,
    more: int,
    closing: float,
    in_parts: bool,
) -> None:
    """At the least limit that has a plan, and at every larger one, a random turn is whole and valid."""
    random = Random(seed)
    request = random_request(random)
    minimum = Closer(Constraint(grammars, request.grammar.text))
    assert minimum.fits(2000)
    limit = len(minimum.plan or ()) + more
    parts = request.grammar.parts if in_parts else None
    constraint = Constraint(grammars, request.grammar.text, parts=parts)
    guide = Guide(constraint, limit)
    assert guide.possible
    rollout(guide, sampler, random, closing)
    tokens = constraint.tokens
    assert constraint.ended
    assert len(tokens) <= limit
    assert malformation(request, tokens, encoding) is None
    assert violation(request, tokens, encoding) is None


def fewest(closer: Closer) -> int | None:
    """How many tokens are enough to end where a turn is, if any are."""
    least, most = None, 2000
    closer.plan = None
    while closer.fits(most):
        least, closer.plan = len(closer.plan or ()), None
        most = least - 1
    return least


@settings(max_examples=30)
@given(st.integers(0, 1_000_000))
def test_ends_in_parts_are_those_of_the_whole(grammars: Grammars, sampler: Sampler, seed: int) -> None:
    """Wherever a turn is, as many tokens are enough to end it."""
    random = Random(seed)
    grammar = random_request(random).grammar
    whole = Constraint(grammars, grammar.text)
    parted = Constraint(grammars, grammar.text, parts=grammar.parts)
    closers = Closer(whole), Closer(parted)
    for _ in range(random.randrange(60)):
        if whole.ended:
            break
        token = sampler.draw(whole.mask(), random, 0.3)
        for constraint in (whole, parted):
            constraint.accept(token)
        if random.random() < 0.1:
            one, other = map(fewest, closers)
            assert one == other


def test_a_limit_that_is_far_needs_no_shortest_end(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Of tools one of which must be called one is read then; near the limit all are, for the shortest."""
    arguments = [
        {"type": "object", "properties": {"word " * length: {"type": "null"}}, "required": ["word " * length]}
        for length in (5, 4, 1, 3)
    ]
    tools = [ToolDescription.new(f"f{number}", "", schema) for number, schema in enumerate(arguments)]
    turn = TurnGrammar.of(tools, tool_choice="required")
    assert turn.parts is not None
    fresh = Grammars(grammars.table)
    closer = Closer(Constraint(fresh, turn.text, parts=turn.parts))
    for limit, planned, read in ((500, "f0", 1), (100, "f2", 4)):
        closer.plan = None
        assert closer.fits(limit)
        assert f"functions.{planned}" in encoding.decode(closer.plan or ())
        assert sum(body.grammar in fresh._automata for body in turn.parts.bodies.values()) == read


@settings(max_examples=20)
@given(st.integers(0, 1_000_000), st.booleans())
def test_a_limit_that_is_far_is_not_felt(
    grammars: Grammars, sampler: Sampler, seed: int, in_parts: bool
) -> None:
    """With four hundred tokens to spare nothing is taken back, whatever is sampled."""
    random = Random(seed)
    grammar = random_request(random).grammar
    constraint = Constraint(grammars, grammar.text, parts=grammar.parts if in_parts else None)
    closer = Closer(constraint)
    for left in range(500, 440, -1):
        if not constraint.ended:
            assert not closer.must_close(left)
            constraint.accept(sampler.draw(constraint.mask(), random, 0.6))


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_way_that_is_too_long_is_not_taken(
    grammars: Grammars, encoding: HarmonyEncoding, in_parts: bool
) -> None:
    """However many tokens are left: a call that needs more of them is not begun."""
    long = ToolDescription.new(
        "long", "", {"properties": {"a": {"type": "string", "minLength": 9000}}, "required": ["a"]}
    )
    turn = TurnGrammar.of([long])
    constraint = Constraint(grammars, turn.text, parts=turn.parts if in_parts else None)
    closer = Closer(constraint)
    assert closer.fits(800)
    for token in encoding.encode(" to=functions.long<|channel|>", allowed_special="all"):
        constraint.accept(token)
        if closer.must_close(799):
            break
    else:
        pytest.fail("it would have been begun")
    constraint.rollback(1)
    assert encoding.decode(closer.plan or []).endswith("<|return|>")


def test_the_last_known_end_is_kept(
    grammars: Grammars, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other end is found it is given up with many tokens left alone, for another may come."""
    grammar = TurnGrammar.of(response=JsonSchema({"type": "integer", "minimum": 100, "maximum": 999}))
    for limit, closed in ((600, True), (1500, False)):
        constraint = Constraint(grammars, grammar.text)
        guide = Guide(constraint, limit)
        with monkeypatch.context() as without:
            without.setattr(Closer, "_plans", lambda closer, left: iter(()))
            rollout(guide, sampler, Random(1), 0.3)
        assert (guide.closed and constraint.ended) == closed


def answer(
    grammars: Grammars, encoding: HarmonyEncoding, before: str, left: int, grammar: TurnGrammar
) -> str | None:
    """The planned rest of a turn of which `before` is said; None when there is none within `left` tokens."""
    constraint = Constraint(grammars, grammar.text)
    constraint.accept(*encoding.encode(before, allowed_special="all"))
    closer = Closer(constraint)
    return encoding.decode(closer.plan or []) if closer.fits(left) else None


HEADER = "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("response", "before", "rest"),
    [
        (JsonSchema({"type": "integer", "minimum": 123456}), "12", "3456"),
        (JsonSchema({"type": "integer", "minimum": 123456}), "13", "0000"),
        (JsonSchema({"type": "integer", "minimum": 123456}), "2", "00000"),
        (JsonSchema({"type": "number", "exclusiveMinimum": 0.25, "maximum": 1.75}), "0", ".9"),
        (JsonSchema({"type": "string", "format": "date"}), '"2024-1', '0-01"'),
        (JsonSchema({"type": "string", "format": "ipv4"}), '"10.', '0.0.0"'),
        (JsonSchema({"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"}), '"AB', 'A-0000"'),
        (Regex("[a-f0-9]{8}"), "c0ffee", "aa"),
        (Lark('start: "(" start ")" | "x"'), "((", "x))"),
    ],
)
def test_what_is_begun_is_finished(
    response: Any, before: str, rest: str, grammars: Grammars, encoding: HarmonyEncoding
) -> None:
    """Numbers within bounds, formats, patterns, regular expressions and grammars, from the middle."""
    grammar = TurnGrammar.of(response=response)
    assert answer(grammars, encoding, HEADER + before, 40, grammar) == rest + "<|return|>"


def test_a_character_that_is_cut_is_finished(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """After the first bytes of an emoji the plan adds the others."""
    constraint = Constraint(grammars, TurnGrammar.of().text)
    constraint.accept(*encoding.encode(HEADER, allowed_special="all"))
    constraint.accept(*(encoding.token_bytes.index(bytes([octet])) for octet in "😀".encode()[:2]))
    closer = Closer(constraint)
    assert closer.fits(5)
    constraint.accept(*closer.plan or ())
    assert constraint.ended
    encoding.decode_utf8(constraint.tokens)


def test_a_grammar_that_is_not_read_ends_too(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """Then by taking what closes, step by step."""
    grammar = TurnGrammar.of(response=Lark('start: "{" item ("," item)* "}"\nitem: "NAME"i | start'))
    assert isinstance(symbol_of(grammar.text, SPECIAL_TOKENS), Unknown)
    rest = answer(grammars, encoding, HEADER + "{name,{", 40, grammar)
    assert rest is not None
    assert re.fullmatch(r"name\}\}<\|return\|>", rest, re.IGNORECASE)


def test_an_end_that_is_too_far_is_none(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """A limit below the shortest end has no plan."""
    grammar = TurnGrammar.of(response=JsonSchema({"type": "string", "minLength": 400}))
    assert answer(grammars, encoding, HEADER, 20, grammar) is None


def test_reasoning_is_interrupted_where_it_may_be(grammars: Grammars, encoding: HarmonyEncoding) -> None:
    """After the given number of tokens its end is forced, and only within reasoning."""
    grammar = TurnGrammar.of(response=JsonSchema({"type": "string"}))
    tokens = tuple(encoding.encode(grammar.reasoning_end, allowed_special="all"))
    constraint = Constraint(grammars, grammar.text, interruption=Interruption(5, tokens))
    constraint.accept(*encoding.encode("<|channel|>analysis<|message|>Hm", allowed_special="all"))
    assert constraint.forced() == []
    constraint.accept(*encoding.encode(" well", allowed_special="all"))
    assert constraint.forced() == [*tokens]
    constraint.accept(*tokens)
    constraint.accept(*encoding.encode('<|message|>"a', allowed_special="all"))
    assert constraint.forced() == []
