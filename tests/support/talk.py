"""Short ways to write conversations, and a strategy that draws them."""

from hypothesis import strategies as st

from harmony import Author, DeveloperContent, Message, Role, SystemContent, ToolDescription

SYSTEM = Message.from_role_and_content(Role.SYSTEM, SystemContent.new())
DEVELOPER = Message.from_role_and_content(
    Role.DEVELOPER, DeveloperContent.new().with_function_tools([ToolDescription.new("f", "A function.")])
)


def user(text: str) -> Message:
    return Message.from_role_and_content(Role.USER, text)


def analysis(text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("analysis")


def preamble(text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("commentary")


def final(text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("final")


def call(text: str, recipient: str = "functions.f", channel: str = "commentary") -> Message:
    message = Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel)
    return message.with_recipient(recipient).with_content_type("<|constrain|>json")


def python(code: str) -> Message:
    message = Message.from_role_and_content(Role.ASSISTANT, code).with_channel("analysis")
    return message.with_recipient("python").with_content_type("code")


def result(text: str, name: str = "functions.f", channel: str = "commentary") -> Message:
    message = Message.from_author_and_content(Author.new(Role.TOOL, name), text)
    return message.with_channel(channel).with_recipient("assistant")


_texts = st.text(max_size=6)
_makers = st.sampled_from(
    [
        user,
        user,
        analysis,
        analysis,
        preamble,
        final,
        final,
        call,
        python,
        result,
        lambda text: result(text, "python", "analysis"),
        lambda text: user(text).with_channel("final"),
        lambda text: final(text).with_recipient("all"),
        lambda text: Message.from_role_and_content(Role.ASSISTANT, text),
        lambda text: Message.from_role_and_content(Role.DEVELOPER, text).with_channel("analysis"),
    ]
)
_said = st.builds(lambda make, text: make(text), _makers, _texts)
_told = st.sampled_from([SYSTEM, DEVELOPER])

messages = st.lists(st.one_of(_said, _said, _said, _said, _told), max_size=12)
"""Messages in any order: turns finished and not, tools of both kinds, functions declared at any place."""

_completions = st.tuples(
    st.lists(
        st.builds(lambda make, text: make(text), st.sampled_from([analysis, preamble]), _texts), max_size=2
    ),
    st.sampled_from([(call, result), (python, lambda text: result(text, "python", "analysis"))]),
    _texts,
).map(lambda drawn: [*drawn[0], drawn[1][0](drawn[2]), drawn[1][1](drawn[2])])
_answers = st.builds(
    lambda thoughts, text: [*map(analysis, thoughts), final(text)], st.lists(_texts, max_size=2), _texts
)

turns = st.lists(
    st.builds(
        lambda question, calls, answer: [[user(question)], *calls, answer],
        _texts,
        st.lists(_completions, max_size=3),
        _answers,
    ),
    max_size=3,
)
"""Finished turns, each a list of its question, its calls with their results, and its answer."""
