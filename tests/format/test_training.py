"""Training examples: the reference's tokens, and a mask of what the assistant would sample at inference."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from pydantic import ValidationError
from talk import (
    DEVELOPER,
    SYSTEM,
    analysis,
    call,
    final,
    messages,
    preamble,
    python,
    result,
    turns,
    user,
)

from harmony import (
    Author,
    Conversation,
    DropRule,
    HarmonyEncoding,
    Message,
    RenderError,
    Role,
    TrainingConfig,
    TrainingExample,
    Transcript,
)

if TYPE_CHECKING:
    from tests.conftest import Oracle

REFERENCE = TrainingConfig(drop_rule=DropRule.REFERENCE)
NOTHING = TrainingConfig(drop_rule=DropRule.NOTHING)
SAMPLED = TrainingConfig(header_order="sampled")
ANSWER = "<|channel|>final<|message|>Yes."


def example_of(
    encoding: HarmonyEncoding,
    *said: Message,
    config: TrainingConfig | None = None,
    last_turn_only: bool = False,
) -> TrainingExample:
    conversation = Conversation.from_messages(said)
    return encoding.render_training_example(conversation, config, last_turn_only=last_turn_only)


def learned(encoding: HarmonyEncoding, example: TrainingExample) -> list[str]:
    """The texts that are learned, each an uninterrupted run of tokens."""
    pairs = zip(example.mask, example.tokens, strict=True)
    runs = (
        (is_learned, [token for _, token in run]) for is_learned, run in groupby(pairs, lambda pair: pair[0])
    )
    return [encoding.decode(tokens) for is_learned, tokens in runs if is_learned]


@given(messages)
def test_tokens_are_those_of_the_reference(
    encoding: HarmonyEncoding, oracle: Oracle, messages: list[Message]
) -> None:
    """With its rule and with none, tokens are what openai-harmony renders for training."""
    conversation = Conversation.from_messages(messages)
    for config, drop in ((REFERENCE, True), (NOTHING, False)):
        expected = oracle.render("render_conversation_for_training", conversation, drop=drop)
        example = encoding.render_training_example(conversation, config)
        last = encoding.render_training_example(conversation, config, last_turn_only=True)
        assert example.tokens == last.tokens == expected
        assert len(example.mask) == len(example.tokens)
        assert all(one <= whole for one, whole in zip(last.mask, example.mask, strict=True))


@given(turns)
def test_each_turn_is_learned_as_it_is_sampled(
    encoding: HarmonyEncoding, turns: list[list[list[Message]]]
) -> None:
    """A turn's example holds the tokens of a transcript at its end, and learns what was sampled since."""
    said = [SYSTEM, DEVELOPER, *chain.from_iterable(chain.from_iterable(turns))]
    examples = encoding.training_examples(Conversation.from_messages(said))
    assert len(examples) == len(turns)
    transcript = Transcript(encoding)
    transcript.append(SYSTEM, DEVELOPER)
    for (question, *completions), example in zip(turns, examples, strict=True):
        transcript.append(*question)
        prompt = transcript.prompt
        for completion in completions:
            answered = completion[-1].author.role == Role.TOOL
            spoken = completion[:-1] if answered else completion
            transcript.append_sampled(rendered(encoding, spoken)[2:])
            transcript.append(*completion[len(spoken) :])
        assert example.tokens == transcript.tokens
        history = len(prompt) - 2
        assert example.mask == [False] * history + transcript.sampled_mask[history:]
        assert example.tokens[: example.mask.index(True)] == prompt


def rendered(encoding: HarmonyEncoding, spoken: list[Message]) -> list[int]:
    """What the assistant would sample, had it the habit of the reference's header order."""
    tokens = list(chain.from_iterable(map(encoding.render, spoken)))
    return [*tokens[:-1], 200_002] if spoken[-1].channel == "final" else tokens


@given(turns)
def test_prompts_of_the_reference_are_kept_at_each_turn(
    encoding: HarmonyEncoding, oracle: Oracle, turns: list[list[list[Message]]]
) -> None:
    """With the reference's rule each example begins with the prompt that openai-harmony renders."""
    said: list[Message] = [SYSTEM]
    prompts = []
    for question, *completions in turns:
        said += question
        prompt = Conversation.from_messages(said)
        prompts.append(oracle.render("render_conversation_for_completion", prompt, drop=True))
        said += chain.from_iterable(completions)
    examples = encoding.training_examples(Conversation.from_messages(said), REFERENCE)
    assert [example.tokens[: example.mask.index(True)] for example in examples] == prompts


@given(turns)
def test_both_header_orders_say_the_same(encoding: HarmonyEncoding, turns: list[list[list[Message]]]) -> None:
    """A strict parser reads the same messages from both, and as many tokens are learned."""
    conversation = Conversation.from_messages([*chain.from_iterable(chain.from_iterable(turns))])
    ours, sampled = (
        encoding.render_training_example(
            conversation, TrainingConfig(drop_rule="nothing", header_order=order)
        )
        for order in ("rendered", "sampled")
    )
    parse = encoding.parse_messages_from_completion_tokens
    assert parse(ours.tokens) == parse(sampled.tokens) == conversation.messages
    assert sum(ours.mask) == sum(sampled.mask)


def test_all_that_follows_the_prompt_is_learned(encoding: HarmonyEncoding) -> None:
    """Headers, contents and ends of a turn, and <|start|>assistant where no engine would stop before it."""
    turn = [analysis("Hm."), preamble("Let me see."), call("{}"), result("2"), analysis("So."), final("Yes.")]
    assert learned(encoding, example_of(encoding, SYSTEM, DEVELOPER, user("Hi"), *turn)) == [
        "<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Let me see.<|end|>"
        "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
        f"<|channel|>analysis<|message|>So.<|end|><|start|>assistant{ANSWER}<|return|>",
    ]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            call("{}"),
            "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        ),
        (python("1"), "<|channel|>analysis to=python code<|message|>1<|call|>"),
        (
            call("{}").model_copy(update={"channel": None}),
            " to=functions.f <|constrain|>json<|message|>{}<|call|>",
        ),
        (final("Yes.").with_recipient("all"), f"{ANSWER}<|return|>"),
        (final("Yes."), f"{ANSWER}<|return|>"),
    ],
)
def test_headers_can_be_written_as_the_model_samples_them(
    encoding: HarmonyEncoding, message: Message, text: str
) -> None:
    """The channel comes first, then the recipient, in the tokens of that text; all else is as it was."""
    example = example_of(encoding, user("Hi"), message, config=SAMPLED)
    assert [token for token, is_learned in zip(example.tokens, example.mask, strict=True) if is_learned] == (
        encoding.encode(text, allowed_special="all")
    )


def test_results_keep_their_header(encoding: HarmonyEncoding) -> None:
    """Only what the assistant samples has the other order; tools are rendered as ever."""
    example = example_of(encoding, user("Hi"), call("{}"), result("2"), config=SAMPLED)
    assert example.tokens[-len(encoding.render(result("2"))) :] == encoding.render(result("2"))


def test_what_lost_its_reasoning_is_not_learned(encoding: HarmonyEncoding) -> None:
    """In a finished turn that had reasoning nothing is learned, unless asked for."""
    said = [user("Hi"), analysis("Hm."), call("{}"), result("2"), final("No."), user("And?"), final("Yes.")]
    assert learned(encoding, example_of(encoding, *said)) == [f"{ANSWER}<|return|>"]
    asked = TrainingConfig(learn_without_reasoning=True)
    assert learned(encoding, example_of(encoding, *said, config=asked)) == [
        " to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
        "<|channel|>final<|message|>No.",
        f"{ANSWER}<|return|>",
    ]


def test_a_finished_turn_without_reasoning_is_learned(encoding: HarmonyEncoding) -> None:
    """It lost nothing; but the <|end|> of its answer is not what would be sampled."""
    said = [user("Hi"), final("No."), user("And?"), analysis("Hm."), final("Yes.")]
    assert learned(encoding, example_of(encoding, *said))[0] == "<|channel|>final<|message|>No."
    assert len(learned(encoding, example_of(encoding, *said, last_turn_only=True))) == 1


def test_the_rule_of_the_reference_leaves_nothing_to_learn(encoding: HarmonyEncoding) -> None:
    """It drops the reasoning of a single turn with its answer, and one does not follow without the other."""
    said = [user("Hi"), analysis("Hm."), final("Yes.")]
    assert learned(encoding, example_of(encoding, *said, config=REFERENCE)) == []
    assert learned(encoding, example_of(encoding, *said, config=NOTHING)) != []


def test_earlier_turns_are_learned_with_their_reasoning_when_it_is_kept(encoding: HarmonyEncoding) -> None:
    """With nothing dropped all turns are learned, or the last one alone."""
    said = [user("Hi"), analysis("Hm."), final("No."), user("And?"), analysis("So."), final("Yes.")]
    assert learned(encoding, example_of(encoding, *said, config=NOTHING)) == [
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>No.",
        f"<|channel|>analysis<|message|>So.<|end|><|start|>assistant{ANSWER}<|return|>",
    ]
    (last,) = learned(encoding, example_of(encoding, *said, config=NOTHING, last_turn_only=True))
    assert "So." in last


def test_an_example_ends_where_the_assistant_does(encoding: HarmonyEncoding) -> None:
    """Turns without the assistant give none; what nobody answered is left out; a greeting is a turn."""
    said = [SYSTEM, final("Hello."), user("Hi"), user("2?"), call("{}"), result("2"), user("Still there?")]
    greeting, called = encoding.training_examples(Conversation.from_messages(said))
    assert learned(encoding, greeting) == ["<|channel|>final<|message|>Hello.<|return|>"]
    assert greeting.tokens == encoding.render_conversation_for_training(Conversation.from_messages(said[:2]))
    assert called.tokens[-1] == 200_012
    assert "Still there?" not in encoding.decode(called.tokens)


def test_a_prompt_knows_the_functions_declared_until_then(encoding: HarmonyEncoding) -> None:
    """Functions that come with a later turn are not told of in the examples of earlier ones."""
    said = [SYSTEM, user("Hi"), final("Yes."), DEVELOPER, user("And?"), final("Yes.")]
    before, after = encoding.training_examples(Conversation.from_messages(said))
    assert "'functions'" not in encoding.decode(before.tokens)
    assert "'functions'" in encoding.decode(after.tokens)


def test_labels_are_the_learned_tokens(encoding: HarmonyEncoding) -> None:
    """Every other label is -100, which torch leaves out of the cross entropy, or what is asked for."""
    example = example_of(encoding, user("Hi"), final("Yes."))
    prompt = example.mask.index(True)
    assert example.labels() == [-100] * prompt + example.tokens[prompt:]
    assert example.labels(ignored=0)[0] == 0


def test_an_empty_conversation_is_an_empty_example(encoding: HarmonyEncoding) -> None:
    """There is nothing to learn from it, and no turn."""
    assert example_of(encoding) == TrainingExample([], [])
    assert encoding.training_examples(Conversation()) == []


def test_what_cannot_be_rendered_is_refused(encoding: HarmonyEncoding) -> None:
    """A tool without a name raises RenderError here too."""
    nameless = Message.from_author_and_content(Author(role=Role.TOOL), "2")
    conversation = Conversation.from_messages([user("Hi"), nameless, final("Yes.")])
    with pytest.raises(RenderError, match="no name"):
        encoding.render_training_example(conversation)
    with pytest.raises(RenderError, match="no name"):
        encoding.training_examples(conversation)


@pytest.mark.parametrize("wrong", [{"header_order": "as sampled"}, {"drop_rule": "some"}, {"drop": True}])
def test_a_misspelt_option_is_refused(wrong: dict[str, object]) -> None:
    """Otherwise a model would be trained on something else than was meant."""
    with pytest.raises(ValidationError):
        TrainingConfig(**wrong)  # type: ignore[arg-type]
