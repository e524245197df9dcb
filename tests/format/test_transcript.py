"""The transcript: rendered messages as the reference renders them, sampled ones as they were sampled."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    Role,
    SystemContent,
    ToolDescription,
)
from harmony.transcript import Transcript

SYSTEM = Message.from_role_and_content(Role.SYSTEM, SystemContent.new())
FUNCTIONS = DeveloperContent.new().with_function_tools([ToolDescription.new("f", "A function.")])


def user(text: str) -> Message:
    return Message.from_role_and_content(Role.USER, text)


def final(text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("final")


def analysis(text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("analysis")


def sampled(encoding: HarmonyEncoding, transcript: Transcript, text: str, *messages: Message) -> None:
    """Append `text`, special tokens written out, as one completion that holds `messages`."""
    tokens = encoding.encode(text, allowed_special="all")
    ends = [i + 1 for i, token in enumerate(tokens) if token in (200002, 200007, 200012)]
    ends += [len(tokens)] * (len(messages) - len(ends))
    transcript.append_sampled(tokens, list(zip(messages, ends, strict=True)))


def test_rendered_messages_equal_a_rendered_conversation(encoding: HarmonyEncoding) -> None:
    """The prompt is what the encoding renders for a completion, functions in the system message included."""
    developer = Message.from_role_and_content(Role.DEVELOPER, FUNCTIONS)
    transcript = Transcript(encoding)
    transcript.append(SYSTEM, developer)
    transcript.append(user("Hi"))
    conversation = Conversation.from_messages([SYSTEM, developer, user("Hi")])
    assert transcript.prompt == encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_a_finished_turn_becomes_what_the_reference_renders(thought: str, answer: str, question: str) -> None:
    """After an answer, the next question drops the reasoning and ends the answer with <|end|>."""
    from harmony import load_encoding

    encoding = load_encoding()
    transcript = Transcript(encoding)
    transcript.append(SYSTEM)
    transcript.append(user("Hi"))
    pieces = [
        *encoding.encode("<|channel|>analysis<|message|>", allowed_special="all"),
        *encoding.encode(thought, disallowed_special=()),
        200007,
        *encoding.encode("<|start|>assistant<|channel|>final<|message|>", allowed_special="all"),
        *encoding.encode(answer, disallowed_special=()),
        200002,
    ]
    transcript.append_sampled(
        pieces, [(analysis(thought), pieces.index(200007) + 1), (final(answer), len(pieces))]
    )
    assert transcript.tokens[-len(pieces) :] == pieces
    transcript.append(user(question))
    conversation = [SYSTEM, user("Hi"), analysis(thought), final(answer), user(question)]
    assert transcript.prompt == encoding.render_conversation_for_completion(
        Conversation.from_messages(conversation), Role.ASSISTANT
    )


def test_reasoning_stays_while_tools_are_called(encoding: HarmonyEncoding) -> None:
    """A tool's answer drops nothing, so that the prompt only grows."""
    transcript = Transcript(encoding)
    transcript.append(SYSTEM)
    transcript.append(user("Hi"))
    call = "<|start|>assistant<|channel|>analysis to=python code<|message|>1<|call|>"
    text = f"<|channel|>analysis<|message|>Hm.<|end|>{call}"
    sampled(encoding, transcript, text, analysis("Hm."), analysis("1").with_recipient("python"))
    before = transcript.tokens
    transcript.append(final("later"))
    assert transcript.tokens[: len(before)] == before


def test_a_cut_message_is_closed(encoding: HarmonyEncoding) -> None:
    """Tokens without a stop token at their end get <|end|>."""
    transcript = Transcript(encoding)
    sampled(encoding, transcript, "<|channel|>final<|message|>Hel", final("Hel"))
    assert encoding.decode(transcript.tokens) == "<|start|>assistant<|channel|>final<|message|>Hel<|end|>"


def test_a_copy_goes_its_own_way(encoding: HarmonyEncoding) -> None:
    """Appending to a copy leaves the original alone."""
    transcript = Transcript(encoding)
    transcript.append(SYSTEM)
    other = transcript.copy()
    other.append(user("Hi"))
    assert transcript.messages == [SYSTEM]
    assert other.messages == [SYSTEM, user("Hi")]
