"""Chat Completions bodies become conversations and come back, and what cannot is named."""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from canonical import characters, conversations, exchange, functions, response_formats, text_message, texts
from hypothesis import given, settings
from hypothesis import strategies as st

import harmony
from harmony import (
    Conversation,
    ConversionError,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    ToolDescription,
    ToolNamespaceConfig,
    from_chat,
    to_chat,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.call_ids import NewId
    from tests.conftest import OpenAITypes

Json = dict[str, Any]


def numbered() -> NewId:
    """Ids call_1, call_2, …, so that two conversions can be compared."""
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"


def said(*messages: Json, **fields: Any) -> list[Message]:
    """What these chat messages become, without the system message."""
    return from_chat({"messages": [*messages], **fields}).messages[1:]


def user(text: str = "Hi") -> Json:
    return {"role": "user", "content": text}


def call(call_id: str, name: str = "f", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "1") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def function(name: str = "f", **fields: Any) -> Json:
    return {"type": "function", "function": {"name": name, **fields}}


@given(conversations())
def test_a_normal_conversation_comes_back_exactly(conversation: Conversation) -> None:
    """harmony -> chat -> harmony keeps everything; the system content, which chat lacks, is handed over."""
    body = json.loads(json.dumps(to_chat(conversation)))
    system = conversation.messages[0].content[0]
    assert isinstance(system, SystemContent)
    assert from_chat(body, system=system) == conversation


chat_contents = texts | st.lists(texts, min_size=2, max_size=3).map(
    lambda several: [{"type": "text", "text": text} for text in several]
)


@st.composite
def normal_bodies(draw: st.DrawFn) -> Json:
    """Bodies in normal form: one call a message, answered at once, and no fields that say nothing."""
    messages: list[Json] = []
    ids = numbered()
    if draw(st.booleans()):
        messages.append({"role": "developer", "content": draw(st.text("ab \n", min_size=1))})
    for _ in range(draw(st.integers(0, 3))):
        name = {"name": draw(st.sampled_from(["bob", "eve"]))} if draw(st.booleans()) else {}
        messages.append({"role": "user", **name, "content": draw(chat_contents)})
        for _ in range(draw(st.integers(0, 2))):
            step = draw(spoken())
            step["tool_calls"] = [call(ids("call"), draw(st.sampled_from(["f", "x.y", "python"])), "{}")]
            messages += [step, result(step["tool_calls"][0]["id"], draw(chat_contents))]
        if draw(st.booleans()):
            messages.append({**draw(spoken()), "content": draw(texts)})
    body: Json = {"messages": messages}
    if declared := draw(functions):
        written = [{"type": "function", "function": f.model_dump(exclude_none=True)} for f in declared]
        for each in written:
            if not each["function"]["description"]:  # type: ignore[index]
                del each["function"]["description"]  # type: ignore[attr-defined]
        body["tools"] = written
    if (stated := draw(response_formats)) is not None and stated.name != "json_object":
        about = {} if stated.description is None else {"description": stated.description}
        details = {"name": stated.name, **about, "schema": stated.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": details}
    body["reasoning_effort"] = draw(st.sampled_from(["low", "medium", "high"]))
    return body


@st.composite
def spoken(draw: st.DrawFn) -> Json:
    """A message of the assistant, perhaps with a preamble and reasoning."""
    message: Json = {"role": "assistant", "content": draw(st.none() | texts)}
    if draw(st.booleans()):
        message["reasoning"] = message["reasoning_content"] = draw(texts)
    return message


@given(normal_bodies())
def test_a_normal_body_comes_back_exactly(body: Json) -> None:
    """chat -> harmony -> chat keeps everything; ids are given anew, in the same order."""
    assert to_chat(from_chat(body), new_id=numbered()) == body


@st.composite
def wild_bodies(draw: st.DrawFn) -> Json:
    """Bodies as clients send them: several calls at once, results in any order or missing, empty texts."""
    maybe = st.just("") | texts
    messages: list[Json] = []
    ids = numbered()
    for _ in range(draw(st.integers(0, 4))):
        messages.append(
            {"role": draw(st.sampled_from(["system", "developer", "user"])), "content": draw(maybe)}
        )
        step: Json = {"role": "assistant", "content": draw(st.none() | maybe)}
        step |= draw(st.fixed_dictionaries({}, optional={"reasoning": maybe, "refusal": maybe}))
        step["tool_calls"] = [
            call(ids("c"), draw(st.sampled_from("fg"))) for _ in range(draw(st.integers(0, 3)))
        ]
        messages.append(step)
        answered = draw(st.permutations([each["id"] for each in step["tool_calls"]]))
        messages += [result(call_id, draw(maybe)) for call_id in answered[: draw(st.integers(0, 3))]]
    return {"messages": messages}


def texts_in(body: Json) -> Iterator[str]:
    """Every text that a client sends."""
    for message in body["messages"]:
        yield from (message.get(field) or "" for field in ("content", "reasoning", "refusal"))
        yield from (each["function"]["arguments"] for each in message.get("tool_calls", []))


@given(wild_bodies())
def test_what_clients_send_is_all_said(body: Json) -> None:
    """Not a character is lost, once and after further conversions, beside newlines that join texts."""
    once = from_chat(body)
    again = from_chat(to_chat(once))
    assert characters(once) == characters(again) == Counter("".join(texts_in(body)).replace("\n", ""))
    assert from_chat(to_chat(again)) == again


def test_system_and_developer_messages_become_one_developer_message() -> None:
    """Those at the beginning are joined as instructions; a later one stays where it is; empty ones go."""
    system, developer = {"role": "system", "content": "A"}, {"role": "developer", "content": "B"}
    empty = {"role": "system", "content": ""}
    first, asked, later = said(system, developer, empty, user(), system)
    assert first.content == [DeveloperContent(instructions="A\n\nB")]
    assert asked.author.role == Role.USER
    assert later.content == [DeveloperContent(instructions="A")]
    assert said(empty, user()) == [text_message(Role.USER, ["Hi"])]


def test_the_system_message_is_the_callers() -> None:
    """Identity and dates are kept, the effort of the body counts, the caller's object is not changed."""
    system = SystemContent.new().with_model_identity("I").with_python_tool()
    conversation = from_chat({"messages": [user()], "reasoning_effort": "high"}, system=system)
    (opening,) = conversation.messages[0].content
    assert opening == system.model_copy(update={"reasoning_effort": ReasoningEffort.HIGH})
    assert system.reasoning_effort == ReasoningEffort.MEDIUM


def test_functions_and_the_response_format_go_to_the_developer_message() -> None:
    """With and without instructions."""
    schema = {"type": "object", "properties": {}}
    stated = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema, "strict": True}}
    tool = function("f", description="Does it.", parameters=schema, strict=True)
    (developer, _) = said(user(), tools=[tool], response_format=stated)
    (content,) = developer.content
    assert isinstance(content, DeveloperContent)
    assert content.instructions == '# Response Formats\n\n## p\n\n{"type":"object","properties":{}}'
    assert content.tools == {
        "functions": ToolNamespaceConfig(
            name="functions", tools=[ToolDescription.new("f", "Does it.", schema)]
        )
    }
    assert to_chat([developer])["messages"] == []


@pytest.mark.parametrize("stated", [None, {"type": "text"}])
def test_plain_text_is_no_response_format(stated: Json | None) -> None:
    """The format `text` leaves no trace."""
    assert said(user(), response_format=stated) == [text_message(Role.USER, ["Hi"])]


def test_json_mode_comes_back_as_json_mode() -> None:
    """json_object is a section with a schema for any object."""
    body = {"messages": [user()], "response_format": {"type": "json_object"}}
    assert to_chat(from_chat(body))["response_format"] == {"type": "json_object"}


def test_the_assistant_thinks_then_speaks_then_calls() -> None:
    """Reasoning goes to analysis, the content beside calls to commentary, the content alone to final."""
    step = {"role": "assistant", "reasoning": "Hm.", "content": "I look.", "tool_calls": [call("1")]}
    answer = {"role": "assistant", "reasoning_content": "Ah.", "content": [{"type": "text", "text": "Done."}]}
    assert said(user(), step, result("1"), answer)[1:] == [
        text_message(Role.ASSISTANT, ["Hm."], "analysis"),
        text_message(Role.ASSISTANT, ["I look."], "commentary"),
        *exchange("functions.f", "{}", ["1"]),
        text_message(Role.ASSISTANT, ["Ah."], "analysis"),
        text_message(Role.ASSISTANT, ["Done."], "final"),
    ]


def test_results_find_their_calls_by_id() -> None:
    """Each comes directly behind its call, under its name, in whatever order the client sent them."""
    step = {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("1", "f"), call("2", "g"), call("3", "f")],
    }
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert said(user(), step, result("3", "c"), result("2", parts), result("1", None))[1:] == [
        *exchange("functions.f", "{}", [""]),
        *exchange("functions.g", "{}", ["a", "b"]),
        *exchange("functions.f", "{}", ["c"]),
    ]


def test_an_id_may_be_used_again() -> None:
    """A later call with the id of an answered one takes its place, as some servers number calls anew."""
    step = {"role": "assistant", "tool_calls": [call("1")]}
    again = {"role": "assistant", "tool_calls": [call("1", "g")]}
    messages = said(user(), step, result("1"), again, result("1", "2"))
    assert messages[-2:] == exchange("functions.g", "{}", ["2"])


@pytest.mark.parametrize(
    ("name", "declared", "recipient"),
    [
        ("f", [], "functions.f"),
        ("python", [], "python"),
        ("python", ["python"], "functions.python"),
        ("functions.python", [], "functions.python"),
        ("browser.search", [], "browser.search"),
    ],
)
def test_names_become_addresses_and_come_back(name: str, declared: list[str], recipient: str) -> None:
    """Functions have the namespace `functions`, built-in tools their own address, unless declared."""
    body = {
        "messages": [user(), {"role": "assistant", "tool_calls": [call("1", name)]}],
        "tools": [function(each) for each in declared],
    }
    conversation = from_chat(body)
    assert conversation.messages[-1].recipient == recipient
    (written,) = to_chat(conversation)["messages"][-1]["tool_calls"]  # type: ignore[misc]
    assert written["function"]["name"] == name


def test_a_bare_recipient_is_a_function() -> None:
    """What the model addresses without `functions.` is called by name, and its result is found."""
    exchanged = exchange("functions.f", "{}", ["1"])
    exchanged[0].recipient = "f"
    written = to_chat(exchanged, new_id=numbered())["messages"]
    assert [m.get("tool_call_id") for m in written] == [None, "call_1"]
    assert from_chat({"messages": written}).messages[1:] == exchange("functions.f", "{}", ["1"])


def test_a_refusal_is_said_on_the_final_channel() -> None:
    """Harmony has no mark for refusals, so one comes back as content."""
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    as_part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    for message in (refused, as_part):
        assert said(message) == [text_message(Role.ASSISTANT, ["No."], "final")]


def test_an_empty_text_of_the_assistant_says_nothing() -> None:
    """Neither beside calls nor alone does it become a message."""
    assert said({"role": "assistant", "content": ""}) == []
    assert said({"role": "assistant"}) == []
    beside = {"role": "assistant", "content": "", "reasoning": "", "tool_calls": [call("1")]}
    assert said(beside) == exchange("functions.f", "{}", None)


def test_results_that_stand_together_answer_the_latest_calls() -> None:
    """Where another renderer put calls first and results after them, they are matched in order."""
    (first, answered), (second, again) = (exchange("functions.f", a, [a]) for a in "ab")
    written = to_chat([first, second, answered, again], new_id=numbered())["messages"]
    assert [m.get("tool_call_id") for m in written] == [None, "call_1", "call_2"]
    (open_call,) = exchange("functions.f", "{}", None)
    written = to_chat([open_call, first, answered], new_id=numbered())["messages"]
    assert written[-1]["tool_call_id"] == "call_2"


def test_one_completion_is_one_message() -> None:
    """Everything up to the calls or the answer is joined by newlines."""
    messages = [
        text_message(Role.ASSISTANT, ["A"], "analysis"),
        text_message(Role.ASSISTANT, ["P"], "commentary"),
        text_message(Role.ASSISTANT, ["B"], "analysis"),
        text_message(Role.ASSISTANT, ["Q"], "final"),
    ]
    thought = {"reasoning": "A\nB", "reasoning_content": "A\nB"}
    assert to_chat(messages)["messages"] == [{"role": "assistant", "content": "P\nQ", **thought}]


def test_ids_are_new_each_time() -> None:
    """Unless the caller makes them, no two conversions give a call the same id."""
    conversation = exchange("functions.f", "{}", ["1"])
    first, second = to_chat(conversation), to_chat(conversation)
    assert first["messages"][1]["tool_call_id"] != second["messages"][1]["tool_call_id"]


ASSISTANT = {"role": "assistant"}


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        ({}, "messages", "is missing"),
        ({"messages": "Hi"}, "messages", "must be a list, not a string"),
        ({"messages": ["Hi"]}, "messages[0]", "must be an object"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role", "is missing"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "'robot' is not a role"),
        ({"messages": [{"role": "function", "content": "1"}]}, "messages[0].role", "tool_call_id"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages[0].content",
            "must be a string or a list of parts",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
            "no 'image_url'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "is missing",
        ),
        ({"messages": [user(), {**ASSISTANT, "audio": {"id": "1"}}]}, "messages[1].audio", "no place"),
        ({"messages": [{**ASSISTANT, "function_call": {}}]}, "messages[0].function_call", "use tool_calls"),
        (
            {"messages": [{**ASSISTANT, "reasoning": "a", "reasoning_content": "b"}]},
            "messages[0].reasoning_content",
            "differs",
        ),
        (
            {"messages": [{**ASSISTANT, "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}]},
            "messages[0].tool_calls[0].type",
            "no 'custom'",
        ),
        (
            {"messages": [{**ASSISTANT, "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].id",
            "is missing",
        ),
        (
            {"messages": [{**ASSISTANT, "tool_calls": [call("1", "f to=g")]}]},
            "messages[0].tool_calls[0].function.name",
            "without spaces",
        ),
        ({"messages": [user(), result("x")]}, "messages[1].tool_call_id", "'x'"),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id", "is missing"),
        (
            {"messages": [{**ASSISTANT, "tool_calls": [call("1")]}, result("1"), result("1")]},
            "messages[2].tool_call_id",
            "has a result already",
        ),
        ({"messages": [], "functions": [{"name": "f"}]}, "functions", "in tools"),
        ({"messages": [], "tools": [{"type": "web_search"}]}, "tools[0].type", "no 'web_search'"),
        ({"messages": [], "tools": [function("f g")]}, "tools[0].function.name", "a-z"),
        ({"messages": [], "tools": [function("f", parameters=[])]}, "tools[0].function.parameters", "object"),
        ({"messages": [], "reasoning_effort": "xhigh"}, "reasoning_effort", "low, medium or high"),
        ({"messages": [], "response_format": {"type": "xml"}}, "response_format.type", "'xml'"),
        (
            {"messages": [], "response_format": {"type": "json_schema", "json_schema": {"name": "p"}}},
            "response_format.json_schema.schema",
            "is missing",
        ),
        (
            {"messages": [], "response_format": {"type": "json_schema", "json_schema": {"name": "\n"}}},
            "response_format.json_schema.name",
            "a-z",
        ),
    ],
)
def test_what_cannot_be_said_is_named(body: Json, path: str, says: str) -> None:
    """The error leads to the field and is one line."""
    with pytest.raises(ConversionError) as raised:
        from_chat(body)
    assert raised.value.path == path
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def developer(content: DeveloperContent) -> list[Message]:
    return [Message.from_role_and_content(Role.DEVELOPER, content)]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        (exchange("functions.f", "{}", ["1"])[1:], "messages[0]"),
        (
            developer(DeveloperContent.new().with_tools(ToolNamespaceConfig.browser())),
            "messages[0].content[0].tools.browser",
        ),
        (
            developer(DeveloperContent.new().with_function_tools([ToolDescription.new("a b", "")])),
            "messages[0].content[0].tools.functions.tools[0].name",
        ),
        ([Message.from_role_and_content(Role.USER, SystemContent.new())], "messages[0].content[0]"),
    ],
)
def test_what_chat_cannot_say_is_named(messages: list[Message], path: str) -> None:
    """A result without a call, foreign namespaces, odd names, and content in the wrong role."""
    with pytest.raises(ConversionError) as raised:
        to_chat(messages)
    assert raised.value.path == path


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "tool", "assistant", "text", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "type", "text", "tool_calls", "id", "function", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {"messages": st.lists(junk) | junk}, optional={"tools": junk, "response_format": junk}
    )
)
def test_no_body_raises_anything_else(body: Json) -> None:
    """Whatever JSON comes, it is converted or refused with a ConversionError."""
    try:
        conversation = from_chat(body)
    except ConversionError:
        return
    harmony.load_encoding().render_conversation(conversation)


@settings(max_examples=30)
@given(conversations())
def test_the_real_client_takes_what_we_write(openai_types: OpenAITypes, conversation: Conversation) -> None:
    """The types of the openai package accept the body of any conversation as that of a request."""
    body = {"model": "gpt-oss-20b", **to_chat(conversation)}
    openai_types.validate("chat.completion_create_params", "CompletionCreateParamsNonStreaming", body)
