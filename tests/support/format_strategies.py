"""Hypothesis strategies for the harmony format: schemas, conversations and streams of tokens."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from harmony import (
    Author,
    ChannelConfig,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
    load_encoding,
)
from harmony.vocabulary import CHANNEL, CONSTRAIN, MESSAGE, START

Schema = dict[str, Any]

# Text, in any place where a conversation has some.

MARKS = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>", "<|return|>"]
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "a\nb", "a\r\nb\r", "\n\n", "日本語 é", "👩‍👩‍👧", " don't", "to=x", "x\x85\u2028\x0b"]
    ),
    st.sampled_from([*MARKS, "<|constrain|>json", " <|constrain|>x", "<|endoftext|>", "<|reserved_200500|>"]),
    st.sampled_from(MARKS).map(lambda mark: f"a{mark}b"),
)
maybe_texts = st.none() | texts

# JSON schemas: first the shapes that people write, then every keyword with every sort of value.

words = st.sampled_from(["a", "b c", "null", "", 'q"t', "two\nlines", "//", "é", "integer"]) | st.text(
    max_size=5
)
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**16, 10**40]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(0, 100, places=17).map(float),
    st.builds(
        lambda digits, power: float(f"{digits}e{power}"), st.integers(-99999, 99999), st.integers(-40, 40)
    ),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
types = st.sampled_from(["object", "string", "number", "integer", "boolean", "array", "null", "any"])


def with_notes(schemas: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """The schemas, some with what may be said about any of them."""
    notes = st.fixed_dictionaries(
        {},
        optional={
            "title": words,
            "description": words,
            "default": values,
            "examples": st.lists(values, max_size=3),
            "nullable": st.booleans(),
        },
    )
    return st.builds(lambda schema, note: schema | note, schemas, notes)


def sensible_schemas_over(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Objects, arrays and choices of `inner` schemas, as a person would write them."""
    objects = st.builds(
        lambda properties, optional, **more: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name not in optional],
            **more,
        },
        st.dictionaries(words, inner, max_size=3),
        st.sets(words, max_size=2),
    )
    arrays = inner.map(lambda items: {"type": "array", "items": items})
    choices = st.lists(inner, max_size=3).map(lambda variants: {"oneOf": variants})
    return with_notes(objects | arrays | choices)


simple_schemas = with_notes(
    st.one_of(
        types.map(lambda name: {"type": name}),
        st.lists(types, max_size=3).map(lambda names: {"type": names}),
        st.lists(words, max_size=3).map(lambda names: {"type": "string", "enum": names}),
        st.lists(words, min_size=1, max_size=3).map(
            lambda names: {"type": "string", "enum": names, "default": names[0]}
        ),
        st.sampled_from([{}, {"$ref": "#/$defs/a"}, {"anyOf": [{"type": "string"}]}, {"const": 1}]),
    )
)
sensible_schemas = st.recursive(simple_schemas, sensible_schemas_over, max_leaves=6)


def odd_schemas_over(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    """Schemas whose members are `inner` schemas, with every keyword also in shapes that make no sense."""
    properties = st.dictionaries(words, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | types | st.lists(types | st.just(1), max_size=3),
            "properties": properties | properties | values,
            "required": st.lists(words, max_size=3) | values,
            "title": words | values,
            "description": words | values,
            "examples": st.lists(values, max_size=3) | values,
            "enum": st.lists(words, max_size=3) | values,
            "default": values,
            "nullable": st.booleans() | values,
            "items": inner,
            "oneOf": st.lists(inner, max_size=3) | values,
        },
    )


odd_schemas = st.recursive(odd_schemas_over(values), odd_schemas_over, max_leaves=8)
schemas = sensible_schemas | odd_schemas

# Conversations that the format can express.

channels = st.sampled_from([None, "analysis", "analysis", "commentary", "final", "final", "", "other"])
tools = st.builds(
    ToolDescription,
    name=texts,
    description=texts,
    parameters=st.none() | st.just({}) | st.just({"type": "object"}) | sensible_schemas,
)
namespaces = st.none() | st.dictionaries(
    st.sampled_from(["functions", "functions", "a", "Z", "é", "\ue000", "😀", "browser"]),
    st.one_of(
        st.builds(
            ToolNamespaceConfig, name=texts, description=maybe_texts, tools=st.lists(tools, max_size=2)
        ),
        st.sampled_from([ToolNamespaceConfig.browser(), ToolNamespaceConfig.python()]),
    ),
    max_size=3,
)
system_contents = st.builds(
    SystemContent,
    model_identity=maybe_texts,
    reasoning_effort=st.none() | st.sampled_from(ReasoningEffort),
    conversation_start_date=maybe_texts | st.dates().map(str),
    knowledge_cutoff=maybe_texts,
    channel_config=st.none()
    | st.builds(ChannelConfig, valid_channels=st.lists(texts, max_size=3), channel_required=st.booleans()),
    tools=namespaces,
)
developer_contents = st.builds(DeveloperContent, instructions=maybe_texts, tools=namespaces)
text_contents = st.builds(TextContent, text=texts)


def messages_of(role: Role, contents: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    """Messages of a role, whose names suit it."""
    return st.builds(
        Message,
        author=st.builds(Author, role=st.just(role), name=texts if role == Role.TOOL else maybe_texts),
        content=st.lists(contents, max_size=3),
        channel=channels,
        recipient=st.none() | st.sampled_from(["all", "", "functions.f", "assistant"]) | texts,
        content_type=st.none() | st.sampled_from(["<|constrain|>json", "<|constrain|>", "json", ""]) | texts,
    )


messages = st.one_of(
    messages_of(Role.SYSTEM, system_contents | text_contents),
    messages_of(Role.DEVELOPER, developer_contents | text_contents),
    messages_of(Role.USER, text_contents),
    messages_of(Role.ASSISTANT, text_contents),
    messages_of(Role.ASSISTANT, text_contents),
    messages_of(Role.TOOL, text_contents),
)
conversations = st.lists(messages, max_size=6).map(Conversation.from_messages)

# Conversations with a fault in one place: no name, content in the wrong role, what is no text or no JSON.

no_text = st.sampled_from(["\ud800", "a\udfffb", "\ude00\ud83d"])
no_json = st.sampled_from([float("nan"), float("inf"), -float("inf")])


def misplaced(content: st.SearchStrategy[Any], *roles: Role) -> st.SearchStrategy[Message]:
    """The content in a message of a role that cannot hold it."""
    return st.builds(Message.from_role_and_content, st.sampled_from(roles), content)


def asking(parameters: Schema) -> Message:
    """A message that offers one function with these parameters."""
    developer = DeveloperContent.new().with_function_tools([ToolDescription.new("f", "Does it.", parameters)])
    return Message.from_role_and_content(Role.DEVELOPER, developer)


faulty_messages = st.one_of(
    st.builds(Message, author=st.just(Author(role=Role.TOOL)), content=st.lists(text_contents, max_size=1)),
    misplaced(system_contents, Role.USER, Role.ASSISTANT, Role.DEVELOPER),
    misplaced(developer_contents, Role.USER, Role.ASSISTANT, Role.SYSTEM),
    st.builds(Message.adding_content, messages, no_text),
    st.builds(Message.with_channel, messages, no_text),
    st.builds(Message.with_recipient, messages, no_text),
    st.builds(Message.with_content_type, messages, no_text),
    st.builds(lambda schema, name, value: asking({**schema, name: value}), schemas, words, no_json),
)

# Conversations whose headers say plainly what they mean, and well-formed streams of them.

CHANNELS = ["analysis", "commentary", "final"]
JSON = "<|constrain|>json"

letters = st.characters(categories=["Ll", "Lu", "Lo", "Nd"], include_characters="_-.")
header_words = st.text(letters, min_size=1, max_size=8).filter(lambda word: word not in [*Role, *CHANNELS])
tool_names = st.sampled_from(["functions.get_weather", "python", "browser.search", "functions.ツール", "f"])
said = (texts | st.text(max_size=30)).map(lambda text: [TextContent(text=text)])
plain_messages = st.one_of(
    st.builds(
        Message,
        author=st.builds(
            Author, role=st.just(Role.ASSISTANT), name=st.none() | st.sampled_from(["bob", "Zoé"])
        ),
        content=said,
        channel=st.sampled_from([None, *CHANNELS]) | header_words,
        recipient=st.none() | tool_names | header_words,
        content_type=st.sampled_from([None, None, "json", "code", JSON]),
    ),
    st.builds(
        Message,
        author=st.builds(Author, role=st.just(Role.TOOL), name=tool_names | header_words),
        content=said,
        channel=st.sampled_from([None, "analysis", "commentary"]),
        recipient=st.sampled_from([None, "assistant", "assistant"]),
    ),
    st.builds(
        Message,
        author=st.builds(Author, role=st.sampled_from([Role.USER, Role.SYSTEM, Role.DEVELOPER])),
        content=said,
    ),
)
plain_conversations = st.lists(plain_messages, max_size=5).map(Conversation.from_messages)


def as_rendered(encoding: HarmonyEncoding, message: Message) -> list[int]:
    """The message as this package writes it: the recipient before the channel."""
    return encoding.render(message)


def as_sampled(encoding: HarmonyEncoding, message: Message) -> list[int]:
    """The message as the model writes it: the channel before the recipient."""
    rendered = encoding.render(message)
    author = message.author
    speaker = author.role.value if author.name is None else f"{author.role.value}:{author.name}"
    header = [START, *encoding.encode(author.name or "" if author.role == Role.TOOL else speaker)]
    if message.channel is not None:
        header += [CHANNEL, *encoding.encode(message.channel)]
    if message.recipient is not None:
        header += encoding.encode(f" to={message.recipient}")
    if message.content_type == JSON:
        header += [*encoding.encode(" "), CONSTRAIN, *encoding.encode("json")]
    elif message.content_type is not None:
        header += encoding.encode(f" {message.content_type}")
    return header + rendered[rendered.index(MESSAGE) :]


Order = Callable[[HarmonyEncoding, Message], list[int]]
orders: st.SearchStrategy[Order] = st.sampled_from([as_rendered, as_sampled])
written_messages = st.lists(st.tuples(orders, plain_messages), max_size=5)


def is_plain_to_all(message: Message) -> bool:
    """Whether openai-harmony reads the message right too: no name but a tool's, no type without recipient."""
    author = message.author
    if author.role == Role.TOOL:
        return message.recipient is not None
    return author.name is None and (message.recipient is not None or message.content_type is None)


# Streams of anything: tokens of all kinds, and well-formed streams in which some were changed.

tokens_of_all_kinds = st.one_of(
    st.sampled_from([200_002, 200_003, 200_005, 200_006, 200_007, 200_008, 200_012]),
    st.sampled_from([173_781, 35_644, 17_196, 12_606, 815, 316, 28, 44_580, 4_108, 220, 198, 30, 935, 1_196]),
    st.integers(0, 255),
    st.sampled_from([199_998, 199_999, 200_500, 201_088, 201_089, -1, 2**70, True]),
    st.integers(0, 201_500),
)
roles = st.none() | st.sampled_from(Role)


@st.composite
def damaged_streams(draw: st.DrawFn) -> list[int]:
    """A well-formed stream, some tokens of which are lost, changed, doubled or swapped."""
    encoding, order = load_encoding(), draw(orders)
    conversation = draw(st.lists(plain_messages, min_size=1, max_size=3))
    tokens = [token for message in conversation for token in order(encoding, message)]
    tokens = tokens[draw(st.sampled_from([0, 0, 2])) :]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(tokens)))
        stop = min(len(tokens), start + draw(st.integers(0, 2)))
        piece = tokens[start:stop]
        tokens[start:stop] = draw(
            st.sampled_from([[], piece * 2, piece[::-1]]) | st.lists(tokens_of_all_kinds, max_size=2)
        )
    return tokens


streams = st.lists(tokens_of_all_kinds, max_size=40) | damaged_streams()
