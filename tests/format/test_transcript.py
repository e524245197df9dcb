"""The transcript: rendered messages as the reference renders them, sampled ones as they were sampled."""

from __future__ import annotations

import json
import pickle
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import DEVELOPER, SYSTEM, analysis, call, final, messages, preamble, python, result, user

from harmony import (
    Author,
    Conversation,
    DeveloperContent,
    DropRule,
    HarmonyEncoding,
    Message,
    RenderConversationConfig,
    RenderError,
    Role,
    Segment,
    StreamableParser,
    ToolDescription,
    Transcript,
    TranscriptError,
)

if TYPE_CHECKING:
    from harmony.messages import SchemaProfile
    from tests.conftest import Oracle

THINKING = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
ANSWER = "<|channel|>final<|message|>Yes.<|return|>"
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
rules = st.sampled_from(DropRule)


def tokens_of(encoding: HarmonyEncoding, text: str) -> list[int]:
    """Text with special tokens written out."""
    return encoding.encode(text, allowed_special="all")


def transcript_of(
    encoding: HarmonyEncoding, *said: Message | str, drop_rule: DropRule = DropRule.FINISHED_TURNS
) -> Transcript:
    """A transcript in which messages were rendered and texts sampled."""
    transcript = Transcript(encoding, drop_rule=drop_rule)
    for one in said:
        if isinstance(one, Message):
            transcript.append(one)
        else:
            transcript.append_sampled(tokens_of(encoding, one))
    return transcript


def text_of(transcript: Transcript) -> str:
    return "".join(
        content.text
        for message in transcript.messages
        for content in message.content
        if content.type == "text"
    )


@given(messages)
def test_the_rule_of_the_reference_gives_its_prompt(
    encoding: HarmonyEncoding, oracle: Oracle, messages: list[Message]
) -> None:
    """After every message, however it was appended, the prompt is what openai-harmony renders."""
    transcript = Transcript(encoding, drop_rule=DropRule.REFERENCE)
    for count, message in enumerate(messages, start=1):
        transcript.append(message)
        conversation = Conversation.from_messages(messages[:count])
        expected = oracle.render("render_conversation_for_completion", conversation, drop=True)
        assert transcript.prompt == expected
    at_once = Transcript(encoding, drop_rule=DropRule.REFERENCE)
    at_once.append(*messages)
    assert at_once.tokens == transcript.tokens


@given(messages)
def test_nothing_dropped_gives_a_plain_rendering(
    encoding: HarmonyEncoding, oracle: Oracle, messages: list[Message]
) -> None:
    """Without a rule the prompt is what openai-harmony renders without auto_drop_analysis."""
    transcript = Transcript(encoding, drop_rule=DropRule.NOTHING)
    transcript.append(*messages)
    conversation = Conversation.from_messages(messages)
    expected = oracle.render("render_conversation_for_completion", conversation, drop=False)
    assert transcript.prompt == expected


@given(messages)
def test_only_the_current_turn_keeps_its_reasoning(
    encoding: HarmonyEncoding, messages: list[Message]
) -> None:
    """By default the prompt is a plain rendering without the analysis before the last user message."""
    transcript = Transcript(encoding)
    for message in messages:
        transcript.append(message)
    starts = [i for i, message in enumerate(messages) if message.author.role == Role.USER]
    turn = starts[-1] if starts else 0
    kept = [m for i, m in enumerate(messages) if i >= turn or m.channel != "analysis"]
    conversation = Conversation.from_messages(kept)
    plain = RenderConversationConfig(auto_drop_analysis=False)
    assert transcript.prompt == encoding.render_conversation_for_completion(
        conversation, Role.ASSISTANT, plain
    )
    assert transcript.messages == kept
    assert [segment.message for segment in transcript.said] == messages


@given(messages.filter(lambda drawn: all(m.author.role != Role.USER for m in drawn)))
def test_within_a_turn_it_only_grows(encoding: HarmonyEncoding, messages: list[Message]) -> None:
    """Whatever the assistant and its tools say, the tokens so far stay; the reference's rule is not so."""
    for rule in (DropRule.FINISHED_TURNS, DropRule.NOTHING):
        transcript = transcript_of(encoding, SYSTEM, DEVELOPER, user("Hi"), drop_rule=rule)
        for message in messages:
            before = transcript.tokens
            transcript.append(message)
            assert transcript.tokens[: len(before)] == before


def test_functions_that_come_later_are_told_of_in_the_system_message(encoding: HarmonyEncoding) -> None:
    """The first developer message with functions renders the system message again, and only the first."""
    transcript = transcript_of(encoding, SYSTEM, user("Hi"), f"{THINKING}{ANSWER}")
    system, *rest = transcript.said
    transcript.append(DEVELOPER)
    assert "'functions'" in encoding.decode(transcript.said[0].tokens)
    assert "'functions'" not in encoding.decode(system.tokens)
    assert transcript.said[1:-1] == tuple(rest)
    before = transcript.tokens
    transcript.append(DEVELOPER)
    assert transcript.tokens[: len(before)] == before


@pytest.mark.parametrize("profile", ["exact", "faithful"])
def test_functions_are_written_in_its_profile(encoding: HarmonyEncoding, profile: SchemaProfile) -> None:
    """As rendering writes them, in a copy and in a restored transcript as well."""
    schema = {"type": "object", "properties": {"x": {"const": 1}}}
    content = DeveloperContent.new().with_function_tools([ToolDescription.new("f", "", schema)])
    developer = Message.from_role_and_content(Role.DEVELOPER, content)
    config = RenderConversationConfig(schema_profile=profile)
    expected = encoding.render_conversation(Conversation.from_messages([SYSTEM, developer]), config)
    transcript = Transcript(encoding, schema_profile=profile)
    restored = Transcript.from_json(encoding, transcript.to_json())
    for each in (transcript.copy(), restored, transcript):
        each.append(SYSTEM, developer)
        assert each.schema_profile == profile
        assert each.tokens == expected


def test_a_later_system_message_tells_of_functions(encoding: HarmonyEncoding) -> None:
    """A system message behind the functions tells of them too, in a restored transcript as well."""
    restored = Transcript.from_json(encoding, transcript_of(encoding, DEVELOPER).to_json())
    restored.append(SYSTEM)
    assert "'functions'" in encoding.decode(restored.said[-1].tokens)


def test_sampled_tokens_stay_as_they_were_sampled(encoding: HarmonyEncoding) -> None:
    """The prompt after a tool call is the one before, what was sampled, and the tool's answer."""
    transcript = transcript_of(encoding, SYSTEM, DEVELOPER, user("Hi"))
    before = transcript.prompt
    sampled = tokens_of(encoding, f"{THINKING}{CALL}")
    transcript.append_sampled(sampled)
    transcript.append(result("2"))
    assert transcript.prompt[: len(before) + len(sampled)] == before + sampled
    assert transcript.messages[-3:] == [analysis("Hm."), call('{"a": 1}'), result("2")]


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), rules)
def test_a_finished_turn_becomes_what_the_reference_renders(
    encoding: HarmonyEncoding, oracle: Oracle, thought: str, answer: str, question: str, rule: DropRule
) -> None:
    """After a sampled answer, the next question makes the turn history, as if it had been rendered."""
    transcript = transcript_of(encoding, SYSTEM, user("Hi"), drop_rule=rule)
    pieces = [
        *tokens_of(encoding, "<|channel|>analysis<|message|>"),
        *encoding.encode(thought, disallowed_special=()),
        *tokens_of(encoding, "<|end|><|start|>assistant<|channel|>final<|message|>"),
        *encoding.encode(answer, disallowed_special=()),
        200_002,
    ]
    transcript.append_sampled(pieces)
    transcript.append(user(question))
    *_, history, _ = transcript.segments
    assert history.sampled == (0, len(history.tokens) - 1)
    conversation = [SYSTEM, user("Hi"), analysis(thought), final(answer), user(question)]
    assert transcript.prompt == oracle.render(
        "render_conversation_for_completion",
        Conversation.from_messages(conversation),
        drop=rule is not DropRule.NOTHING,
    )


def test_the_reasoning_of_the_reference_comes_back(encoding: HarmonyEncoding) -> None:
    """What the reference drops after an answer is in its prompts again while the next turn calls tools."""
    transcript = transcript_of(
        encoding, user("One?"), analysis("A."), final("1"), user("Two?"), drop_rule=DropRule.REFERENCE
    )
    assert text_of(transcript) == "One?1Two?"
    transcript.append(analysis("B."))
    assert text_of(transcript) == "One?A.1Two?B."
    transcript.append(final("2"))
    assert text_of(transcript) == "One?1Two?B.2"


def test_built_in_calls_are_dropped_with_their_results(encoding: HarmonyEncoding) -> None:
    """A finished turn keeps function calls and preambles, and loses what python was asked and said."""
    turn = [
        python("1+1"),
        result("2", "python", "analysis"),
        preamble("Now f."),
        call("{}"),
        result("3"),
        final("4"),
    ]
    transcript = transcript_of(encoding, user("Hi"), *turn, user("And?"))
    assert transcript.messages == [user("Hi"), *turn[2:], user("And?")]


def test_a_cut_message_is_closed(encoding: HarmonyEncoding) -> None:
    """Tokens without a stop token at their end get <|end|>, which does not count as sampled."""
    transcript = transcript_of(encoding, "<|channel|>final<|message|>Hel")
    assert encoding.decode(transcript.tokens) == "<|start|>assistant<|channel|>final<|message|>Hel<|end|>"
    assert transcript.messages == [final("Hel")]
    assert transcript.sampled_mask == [False] * 2 + [True] * 4 + [False]


@given(
    st.lists(st.integers(199_990, 201_100) | st.sampled_from([200_002, 200_005, 200_006, 200_007, 200_008]))
)
def test_whatever_is_sampled_is_kept(encoding: HarmonyEncoding, sampled: list[int]) -> None:
    """No sampled token is lost or changed, be it a harmony stream or not."""
    transcript = transcript_of(encoding, user("Hi"))
    before = transcript.prompt
    transcript.append_sampled(sampled)
    if sampled:
        assert transcript.tokens[: len(before) + len(sampled)] == before + sampled
        assert sum(transcript.sampled_mask) == len(sampled)
    assert len(transcript.tokens) == sum(len(segment.tokens) for segment in transcript.segments)


def test_tokens_that_are_no_message_are_kept(encoding: HarmonyEncoding) -> None:
    """What stands behind the last message is a segment without a message."""
    transcript = transcript_of(encoding, f"{ANSWER}<|end|>")
    assert [segment.message for segment in transcript.said] == [final("Yes."), None]
    assert transcript.said[-1] == Segment((200_007,), None, (0, 1))


def test_a_sampled_user_message_begins_no_turn(encoding: HarmonyEncoding) -> None:
    """A model that writes a message of the user's cannot have its own reasoning dropped."""
    text = f"{THINKING}{ANSWER.removesuffix('<|return|>')}<|end|><|start|>user<|message|>Go on.<|end|>"
    transcript = transcript_of(encoding, user("Hi"))
    before = transcript.prompt
    transcript.append_sampled(tokens_of(encoding, text))
    assert transcript.tokens == before + tokens_of(encoding, text)


def test_messages_parsed_before_are_taken_over(encoding: HarmonyEncoding) -> None:
    """A parser's messages are not parsed again, and give the same segments."""
    sampled = tokens_of(encoding, f"{THINKING}{CALL}")
    parser = StreamableParser(encoding, Role.ASSISTANT)
    for token in sampled:
        parser.process(token)
    transcript = Transcript(encoding)
    transcript.append_sampled(sampled, parser.parsed_messages)
    assert transcript.said == transcript_of(encoding, f"{THINKING}{CALL}").said
    assert transcript.messages[0] is parser.messages[0]


def test_messages_of_other_tokens_are_refused(encoding: HarmonyEncoding) -> None:
    """Spans that reach beyond the tokens raise TranscriptError, and nothing is appended."""
    parser = StreamableParser(encoding, Role.ASSISTANT)
    for token in tokens_of(encoding, f"{THINKING}{CALL}"):
        parser.process(token)
    transcript = Transcript(encoding)
    with pytest.raises(TranscriptError, match="not of these tokens"):
        transcript.append_sampled(parser.tokens[:9], parser.parsed_messages)
    assert transcript.said == ()


def test_what_cannot_be_rendered_changes_nothing(encoding: HarmonyEncoding) -> None:
    """If one of the messages cannot be rendered, none is appended and no reasoning is dropped."""
    transcript = transcript_of(encoding, SYSTEM, user("Hi"), f"{THINKING}{ANSWER}")
    before = transcript.tokens
    nameless = Message.from_author_and_content(Author(role=Role.TOOL), "2")
    with pytest.raises(RenderError, match="no name"):
        transcript.append(DEVELOPER, user("And?"), nameless)
    assert transcript.tokens == before
    assert len(transcript.said) == 4


def test_appending_renders_the_new_message_alone(encoding: HarmonyEncoding) -> None:
    """The work of appending does not grow with the transcript, at the boundary of a turn too."""

    class Counting(HarmonyEncoding):
        rendered = 0

        def render(self, *arguments: object) -> list[int]:
            self.rendered += 1
            return super().render(*arguments)  # type: ignore[arg-type]

    counting = Counting()
    transcript = transcript_of(
        counting, SYSTEM, DEVELOPER, *[user("Hi"), analysis("Hm."), final("Yes.")] * 20
    )
    for message in (user("And?"), analysis("Hm."), call("{}"), result("2"), final("2")):
        before = counting.rendered
        transcript.append(message)
        assert counting.rendered == before + 1


@given(messages, st.lists(st.sampled_from([ANSWER, CALL, f"{THINKING}{ANSWER}", "?"]), max_size=2), rules)
def test_counts_agree_with_the_tokens(
    encoding: HarmonyEncoding, messages: list[Message], sampled: list[str], rule: DropRule
) -> None:
    """Totals, channels and origins add up to the tokens in context."""
    transcript = transcript_of(encoding, *messages, *sampled, user("Hi"), *sampled, drop_rule=rule)
    counts = transcript.counts()
    assert counts.total == len(transcript.tokens) == counts.sampled + counts.rendered
    assert counts.prompt == len(transcript.prompt)
    assert sum(counts.by_channel.values()) == counts.total
    assert counts.sampled == sum(transcript.sampled_mask)
    assert len(transcript.sampled_mask) == counts.total
    assert counts.reasoning <= counts.by_channel.get("analysis", 0)


def test_reasoning_is_what_the_assistant_thinks(encoding: HarmonyEncoding) -> None:
    """Thoughts and built-in calls count as reasoning, what the tool answers does not."""
    transcript = transcript_of(encoding, user("Hi"), analysis("Hm."), python("1"))
    thought = sum(len(encoding.render(message)) for message in (analysis("Hm."), python("1")))
    transcript.append(result("1", "python", "analysis"))
    assert transcript.counts().reasoning == thought
    assert transcript.counts().by_channel["analysis"] > thought


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_the_cached_prefix_is_the_longest_common_one(
    encoding: HarmonyEncoding, ours: list[int], held: list[int]
) -> None:
    """It counts equal tokens from the start up to the first that differs, whatever sequence holds them."""
    transcript = Transcript(encoding, [Segment(tuple(ours), None)] if ours else [])
    expected = 0
    for one, other in zip(transcript.prompt, held, strict=False):
        if one != other:
            break
        expected += 1
    assert transcript.cached_prefix(held) == transcript.cached_prefix(tuple(held)) == expected


def test_an_engine_that_ran_the_turn_holds_the_next_prompt(encoding: HarmonyEncoding) -> None:
    """After a tool call all that the engine has read and sampled is a prefix of the next prompt."""
    transcript = transcript_of(encoding, SYSTEM, DEVELOPER, user("Hi"))
    held = transcript.prompt + tokens_of(encoding, f"{THINKING}{CALL}")
    transcript.append_sampled(tokens_of(encoding, f"{THINKING}{CALL}"))
    transcript.append(result("2"))
    assert transcript.cached_prefix(held) == len(held)


@given(messages, messages, messages, rules)
def test_a_copy_goes_its_own_way(
    encoding: HarmonyEncoding, first: list[Message], one: list[Message], two: list[Message], rule: DropRule
) -> None:
    """Two copies that go on differently are what two transcripts would be."""
    transcript = transcript_of(encoding, *first, drop_rule=rule)
    copy = transcript.copy()
    for ours, its in zip_longest(one, two):
        transcript.append(*([ours] if ours else []))
        copy.append(*([its] if its else []))
    for branch, rest in ((transcript, one), (copy, two)):
        alone = transcript_of(encoding, *first, *rest, drop_rule=rule)
        assert (branch.tokens, branch.segments, branch.said) == (alone.tokens, alone.segments, alone.said)


def test_a_transcript_can_branch_where_it_was(encoding: HarmonyEncoding) -> None:
    """The first segments of what was said are the transcript as it was then."""
    transcript = transcript_of(encoding, SYSTEM, user("Hi"), f"{THINKING}{ANSWER}", user("And?"))
    then = Transcript(encoding, transcript.said[:4])
    assert then.tokens == transcript_of(encoding, SYSTEM, user("Hi"), f"{THINKING}{ANSWER}").tokens


@given(messages.filter(bool), st.integers(0, 20), rules)
def test_another_message_in_the_place_of_one(
    encoding: HarmonyEncoding, said: list[Message], index: int, drop_rule: DropRule
) -> None:
    """It is as if that had been said from the first, and what came before is what `before` gives."""
    index = min(index, len(said) - 1)
    transcript = transcript_of(encoding, *said, drop_rule=drop_rule)
    replaced = transcript.replaced(index, user("Rather this."))
    changed = transcript_of(
        encoding, *said[:index], user("Rather this."), *said[index + 1 :], drop_rule=drop_rule
    )
    if transcript._has_functions == changed._has_functions:
        assert replaced.tokens == changed.tokens
    assert replaced.before(index).said == transcript.before(index).said
    assert transcript.before(index).drop_rule == drop_rule


def test_functions_in_the_place_of_a_message_are_told_of(encoding: HarmonyEncoding) -> None:
    """The system message says where calls go, as it does when they are appended."""
    transcript = transcript_of(encoding, SYSTEM, user("Who are you?"), ANSWER)
    replaced = transcript.replaced(1, DEVELOPER)
    assert "'functions'" in encoding.decode(replaced.tokens)
    assert replaced.said[2] == transcript.said[2]
    with pytest.raises(IndexError):
        transcript.replaced(9, DEVELOPER)


@given(messages, st.sampled_from([ANSWER, CALL, "?", f"{THINKING}{ANSWER}<|end|>"]), rules)
def test_saving_keeps_everything(
    encoding: HarmonyEncoding, messages: list[Message], sampled: str, rule: DropRule
) -> None:
    """Through JSON and pickle come the same segments, tokens and rule, and they go on the same way."""
    transcript = transcript_of(encoding, *messages, sampled, drop_rule=rule)
    restored = Transcript.from_json(encoding, transcript.to_json())
    unpickled: Transcript = pickle.loads(pickle.dumps(transcript))
    for other in (restored, unpickled):
        assert other.said == transcript.said
        assert other.drop_rule == transcript.drop_rule
        assert other.tokens == transcript.tokens
    for other in (restored, unpickled, transcript):
        other.append(DEVELOPER, user("And?"))
    assert restored.tokens == unpickled.tokens == transcript.tokens


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "version"),
        ({"drop_rule": "all"}, "drop_rule"),
        ({"segments": [{"tokens": [], "message": None}]}, "a segment has tokens"),
        ({"segments": [{"tokens": [1], "message": None, "sampled": [0, 2]}]}, "sampled"),
        ({"segments": [{"tokens": ["x"], "message": None}]}, "segments.0.tokens.0"),
        ({"segments": [{"tokens": [1], "message": {"author": {"role": "cat"}}}]}, "role"),
    ],
)
def test_other_json_is_refused(encoding: HarmonyEncoding, change: dict[str, object], problem: str) -> None:
    """What is not a saved transcript raises TranscriptError, on one line that says where it is wrong."""
    saved = json.loads(transcript_of(encoding, user("Hi")).to_json())
    with pytest.raises(TranscriptError, match=problem) as caught:
        Transcript.from_json(encoding, json.dumps(saved | change))
    assert "\n" not in str(caught.value)


def test_text_that_is_no_json_is_refused(encoding: HarmonyEncoding) -> None:
    """A damaged file raises TranscriptError."""
    with pytest.raises(TranscriptError, match="Invalid JSON"):
        Transcript.from_json(encoding, "{")
