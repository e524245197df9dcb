"""The grammar of a turn: what it allows, token by token, and what it can never let through."""

from __future__ import annotations

import pytest

from harmony import (
    AnswerFormat,
    Choices,
    GrammarError,
    HarmonyEncoding,
    JsonSchema,
    Lark,
    ReasoningEffort,
    Regex,
    ToolDescription,
    ToolNamespaceConfig,
    TurnGrammar,
)
from harmony.runtime.constraint import Constraint
from harmony.runtime.grammars import Grammars

WEATHER = ToolDescription.new(
    "get_weather",
    "The weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
NOW = ToolDescription.new("now", "The time.")
BUILTINS = [ToolNamespaceConfig.python(), ToolNamespaceConfig.browser()]
PERSON = JsonSchema(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
FULL = TurnGrammar.of([WEATHER, NOW], BUILTINS, response=PERSON)

THOUGHT = '<|channel|>analysis<|message|>Well, {…} "now".<|end|><|start|>assistant'
PREAMBLE = "<|channel|>commentary<|message|>I'll look it up.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Rome"}<|call|>'
ANSWER = '<|channel|>final<|message|>{"name": "Ann", "age": 3}<|return|>'

LEGAL = {
    "recipient in the channel": CALL,
    "recipient in the role": CALL.replace(
        "<|channel|>commentary to=functions.get_weather", " to=functions.get_weather<|channel|>commentary"
    ),
    "no content type": CALL.replace(" <|constrain|>json", ""),
    "no blank before the content type": CALL.replace(" <|constrain|>", "<|constrain|>"),
    "a bare content type": CALL.replace(" <|constrain|>json", " json"),
    "a call on analysis as code": CALL.replace("commentary", "analysis").replace("<|constrain|>json", "code"),
    "JSON laid out on lines": ANSWER.replace(
        '{"name": "Ann", "age": 3}', '{\n  "name": "Ann",\n  "age": 3\n}'
    ),
    "an answer marked as json": ANSWER.replace("final", "final <|constrain|>json"),
    "an answer marked as json, bare": ANSWER.replace("final", "final json"),
    "several thoughts and preambles": THOUGHT + PREAMBLE + THOUGHT + THOUGHT + CALL,
    "a thought, then the answer": THOUGHT + ANSWER,
    "a call without arguments": "<|channel|>commentary to=functions.now<|message|>{}<|call|>",
    "python by plain text": "<|channel|>analysis to=python code<|message|>print('{')\n<|call|>",
    "a search": '<|channel|>analysis to=browser.search code<|message|>{"query": "x", "topn": 3}<|call|>',
    "an open without arguments": " to=browser.open<|channel|>analysis<|message|>{}<|call|>",
    "escapes in a string": ANSWER.replace("Ann", r"\n \" \\ é 日"),
}  # fmt: skip

MALFORMED = {
    "no channel": "<|message|>hello<|return|>",
    "no message mark": "<|channel|>final{",
    "an unknown channel": "<|channel|>comment<|message|>",
    "a blank before the channel": "<|channel|> final<|message|>",
    "two channels": "<|channel|>analysis<|channel|>final<|message|>",
    "a channel glued to the recipient": "<|channel|>commentaryto=functions.now<|message|>",
    "an unknown function": "<|channel|>commentary to=functions.delete<|message|>",
    "a function without its namespace": "<|channel|>commentary to=now<|message|>",
    "two recipients": " to=functions.now<|channel|>commentary to=functions.now<|message|>",
    "a call on final": "<|channel|>final to=functions.now<|message|>",
    "python on commentary": "<|channel|>commentary to=python<|message|>",
    "an unknown content type": "<|channel|>commentary to=functions.now xml<|message|>",
    "a content type on analysis": "<|channel|>analysis <|constrain|>json<|message|>",
    "constrain without a type": "<|channel|>final<|constrain|><|message|>",
    "a call ended as an answer": CALL.replace("<|call|>", "<|return|>"),
    "a call ended as a message": CALL.replace("<|call|>", "<|end|>"),
    "an answer ended as a call": ANSWER.replace("<|return|>", "<|call|>"),
    "an answer ended as a message": ANSWER.replace("<|return|>", "<|end|>"),
    "a thought that ends the turn": "<|channel|>analysis<|message|>Well.<|return|>",
    "a preamble that is a call": "<|channel|>commentary<|message|>Well.<|call|>",
    "an end without the next start": THOUGHT.replace("<|start|>assistant", "") + "<|channel|>final",
    "another role": THOUGHT.replace("<|start|>assistant", "<|start|>user<|message|>"),
    "start within a text": "<|channel|>analysis<|message|>Well<|start|>assistant",
    "a channel within a text": "<|channel|>analysis<|message|>Well<|channel|>final",
    "end of text within a text": "<|channel|>analysis<|message|>Well<|endoftext|>",
    "a reserved token within a text": "<|channel|>analysis<|message|>Well<|reserved_200013|>",
    "a special token within JSON": ANSWER.replace("Ann", "Ann<|end|>"),
    "a reserved token within JSON": ANSWER.replace("Ann", "<|reserved_201000|>"),
    "text before the JSON": ANSWER.replace("{", "Sure: {"),
    "a blank before the JSON": ANSWER.replace("{", " {"),
    "a blank after the JSON": ANSWER.replace("}", "} "),
    "a wrong type": ANSWER.replace("3", '"3"'),
    "a missing property": ANSWER.replace(', "age": 3', ""),
    "an unknown property": ANSWER.replace("3}", '3, "x": 1}'),
    "arguments for a function without parameters": (
        '<|channel|>commentary to=functions.now<|message|>{"a": 1}<|call|>'
    ),
    "endless blanks": ANSWER.replace(": 3", ":   3"),
    "nothing at all": "<|return|>",
}  # fmt: skip


class Judge:
    """Asks a grammar about turns that are written as text."""

    def __init__(self, grammars: Grammars, encoding: HarmonyEncoding) -> None:
        self._grammars = grammars
        self._encoding = encoding

    def tokens(self, turn: str) -> list[int]:
        return self._encoding.encode(turn, allowed_special="all")

    def allows(self, grammar: TurnGrammar, turn: str) -> bool:
        """Whether the turn is allowed to its end, and ends there."""
        constraint, tokens = Constraint(self._grammars, grammar.text), self.tokens(turn)
        if constraint.allowed(tokens) < len(tokens):
            return False
        constraint.accept(*tokens)
        return constraint.ended

    def begins(self, grammar: TurnGrammar, turn: str) -> bool:
        """Whether a turn may begin so."""
        tokens = self.tokens(turn)
        return Constraint(self._grammars, grammar.text).allowed(tokens) == len(tokens)


@pytest.fixture
def judge(grammars: Grammars, encoding: HarmonyEncoding) -> Judge:
    return Judge(grammars, encoding)


@pytest.mark.parametrize("turn", LEGAL.values(), ids=LEGAL)
def test_what_models_write_is_legal(turn: str, judge: Judge) -> None:
    """Every form of a turn that gpt-oss is seen to write is allowed, and ends the turn."""
    assert judge.allows(FULL, turn)


@pytest.mark.parametrize("turn", LEGAL.values(), ids=LEGAL)
def test_legal_turns_parse_strictly(turn: str, judge: Judge, encoding: HarmonyEncoding) -> None:
    """The strict parser reads each legal turn, so that the two agree about the format."""
    messages = encoding.parse_messages_from_completion_tokens(judge.tokens(turn), "assistant")
    assert messages[-1].channel in ("analysis", "commentary", "final")
    assert messages[-1].recipient in (
        None,
        "python",
        "browser.search",
        "browser.open",
        "functions.now",
        "functions.get_weather",
    )


@pytest.mark.parametrize("turn", MALFORMED.values(), ids=MALFORMED)
def test_malformed_turns_are_impossible(turn: str, judge: Judge) -> None:
    """Nothing malformed can be sampled to its end."""
    assert not judge.begins(FULL, turn)


def test_markup_spelled_as_text_is_text(judge: Judge, encoding: HarmonyEncoding, grammars: Grammars) -> None:
    """A special token's name, written with ordinary tokens, opens nothing and stays text."""
    constraint = Constraint(grammars, FULL.text)
    constraint.accept(*judge.tokens("<|channel|>analysis<|message|>"))
    constraint.accept(*encoding.encode("<|end|><|start|>assistant", disallowed_special=()))
    assert not constraint.allowed(judge.tokens("<|channel|>"))
    assert constraint.allowed(judge.tokens("<|end|>"))


@pytest.mark.parametrize(
    ("choice", "call", "python", "answer"),
    [
        ("auto", True, True, True),
        ("none", False, False, True),
        ("required", True, True, False),
        ("get_weather", True, False, False),
        ("functions.get_weather", True, False, False),
        ("python", False, True, False),
    ],
)
def test_the_tool_choice_decides_how_a_turn_ends(
    choice: str, call: bool, python: bool, answer: bool, judge: Judge
) -> None:
    """A call, the answer, either, or one call alone; analysis always comes before if it wants."""
    grammar = TurnGrammar.of([WEATHER, NOW], BUILTINS, tool_choice=choice, response=PERSON)
    assert judge.allows(grammar, THOUGHT + CALL) == call
    assert judge.allows(grammar, LEGAL["python by plain text"]) == python
    assert judge.allows(grammar, ANSWER) == answer


def test_a_namespace_can_be_chosen(judge: Judge) -> None:
    """`browser` stands for its three functions."""
    grammar = TurnGrammar.of([WEATHER], BUILTINS, tool_choice="browser")
    assert judge.allows(grammar, LEGAL["a search"])
    assert judge.allows(grammar, LEGAL["an open without arguments"])
    assert not judge.begins(grammar, " to=python")


def test_effort_decides_whether_analysis_must_come_first(judge: Judge) -> None:
    """Medium and high effort begin with it, low effort and none given may skip it."""
    for effort, skips in (
        (ReasoningEffort.LOW, True), (None, True),
        (ReasoningEffort.MEDIUM, False), (ReasoningEffort.HIGH, False),
    ):  # fmt: skip
        grammar = TurnGrammar.of([WEATHER], response=PERSON, reasoning=effort)
        assert judge.allows(grammar, ANSWER) == skips
        assert judge.allows(grammar, THOUGHT + ANSWER)


def test_only_the_given_channels_are_legal(judge: Judge) -> None:
    """Without analysis there is no thought, without commentary no preamble, and calls stay possible."""
    quiet = TurnGrammar.of([WEATHER], BUILTINS, channels=("commentary", "final"))
    assert not judge.begins(quiet, "<|channel|>analysis")
    assert judge.allows(quiet, PREAMBLE + CALL)
    assert judge.allows(quiet, "<|channel|>commentary to=python<|message|>1<|call|>")
    silent = TurnGrammar.of([WEATHER], preambles=False)
    assert not judge.begins(silent, "<|channel|>commentary<|message|>")
    assert not judge.begins(TurnGrammar.of(channels=("analysis", "final")), "<|channel|>commentary")


@pytest.mark.parametrize(
    ("response", "good", "bad"),
    [
        (None, 'Any text, {"even": "this"}\n\n  ', "<|endoftext|>"),
        (Regex(r"^[A-Z]{2}/\d+$"), "AB/17", "AB17"),
        (Regex(r"a\/b"), "a/b", "a"),
        (Regex("line\nbreak"), "line\nbreak", "line break"),
        (Regex(""), "", "a"),
        (Choices(("yes", 'no "é"\x7f\n')), 'no "é"\x7f\n', "maybe"),
        (Choices(("<|return|>",)), "<|return|>", "<|call|>"),
        (Lark('start: "x" | pair\npair: "(" start ")"  // "nested" }'), "((x))", "((x)"),
        (Lark('start: %json {"type": "array", "items": {"enum": ["}", "{"]}}'), '["}","{"]', '["]'),
    ],
)
def test_an_answer_keeps_to_its_format(
    response: AnswerFormat | None,
    good: str,
    bad: str,
    judge: Judge,
    encoding: HarmonyEncoding,
    grammars: Grammars,
) -> None:
    """Text, a regular expression, choices and a grammar are each enforced to the end of the message."""
    constraint = Constraint(grammars, TurnGrammar.of(response=response).text)
    header, end = judge.tokens("<|channel|>final<|message|>"), judge.tokens("<|return|>")
    plain = [*header, *encoding.encode(good, disallowed_special=()), *end]
    assert constraint.allowed(plain) == len(plain)
    special = [*header, *judge.tokens(bad), *end]
    assert constraint.allowed(special) < len(special)


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "a"\n}\nfinal: "b"',
        'start: "a" <|call|>',
        "start: <[200012]>",
        'start: "a" }\n{',
        'start[max_tokens=3]: "a"',
        "start: @other",
        'start: "open',
        "%import common.NUMBER\nstart: NUMBER",
    ],
)
def test_a_grammar_cannot_leave_the_answer(grammar: str) -> None:
    """Special tokens, other grammars and unbalanced braces are refused."""
    with pytest.raises(GrammarError):
        TurnGrammar.of(response=Lark(grammar))


@pytest.mark.parametrize(
    "response",
    [
        JsonSchema({"minimum": float("nan")}),
        JsonSchema({"const": object()}),
        JsonSchema({"const": "\ud800"}),
        Choices(()),
        Choices(("\udfff",)),
    ],
)
def test_what_is_not_json_is_refused(response: AnswerFormat) -> None:
    """NaN, foreign objects, half surrogate pairs and empty choices raise the typed error."""
    with pytest.raises(GrammarError):
        TurnGrammar.of(response=response)


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"$ref": "#/nowhere"}, {"enum": []}])
def test_what_cannot_be_enforced_is_refused_when_it_is_compiled(
    schema: dict[str, object], judge: Judge
) -> None:
    """The error is typed, on one line, and names the cause."""
    with pytest.raises(GrammarError, match=r"(?i)type|leads to|No value satisfies") as raised:
        judge.begins(TurnGrammar.of(response=JsonSchema(schema)), "<|channel|>")
    assert "\n" not in str(raised.value)


def test_a_schema_cannot_loosen_its_own_enforcement() -> None:
    """`x-guidance` in a schema is replaced by ours."""
    lenient = JsonSchema({"type": "string", "x-guidance": {"lenient": True}})
    assert "lenient" not in TurnGrammar.of(response=lenient).text


def test_a_turn_needs_an_end() -> None:
    """Without a call and without the answer there is nothing to allow."""
    with pytest.raises(GrammarError):
        TurnGrammar.of(tool_choice="required")
    with pytest.raises(GrammarError):
        TurnGrammar.of(channels=("analysis",))


def test_unknown_and_unspeakable_tools_are_refused() -> None:
    """The error lists what there is to choose, or what is wrong with a name."""
    with pytest.raises(GrammarError, match="functions"):
        TurnGrammar.of([NOW], tool_choice="later")
    with pytest.raises(GrammarError, match="blanks"):
        TurnGrammar.of([ToolDescription.new("get weather", "")])
    with pytest.raises(GrammarError, match="same name"):
        TurnGrammar.of([NOW, NOW])


def test_the_end_of_reasoning_is_legal_where_reasoning_is(judge: Judge) -> None:
    """Its tokens lead from analysis to the answer, or to the call where there must be one."""
    for grammar in (
        FULL,
        TurnGrammar.of([WEATHER, NOW], tool_choice="required"),
        TurnGrammar.of([NOW], tool_choice="now"),
    ):
        assert judge.begins(grammar, "<|channel|>analysis<|message|>Hm" + grammar.reasoning_end)


def test_the_text_is_readable() -> None:
    """One rule a line, special tokens as they are spelled, the schema as it was given."""
    text = TurnGrammar.of([WEATHER], response=Choices(("yes", "no"))).text
    assert text.startswith("%llguidance {}\nstart: (analysis | preamble)* (call_0 | final)\n")
    assert 'final: <|channel|> "final" <|message|> answer <|return|>\nanswer: "yes" | "no"' in text
