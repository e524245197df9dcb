"""Responses bodies become conversations and come back, and what cannot is named."""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from canonical import characters, conversations, exchange, functions, text_message, texts, turns
from hypothesis import given, settings
from hypothesis import strategies as st

import harmony
from harmony import (
    Author,
    Conversation,
    ConversionError,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
    from_responses,
    to_responses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.call_ids import NewId
    from tests.conftest import OpenAITypes

Json = dict[str, Any]


def numbered() -> NewId:
    """Ids such as call_1, counted for each prefix, so that two conversions can be compared."""
    numbers = {prefix: count(1) for prefix in ("call", "fc", "rs", "msg")}
    return lambda prefix: f"{prefix}_{next(numbers[prefix])}"


def said(*items: Json, **fields: Any) -> list[Message]:
    """What these items become, without the system message."""
    return from_responses({"input": [*items], **fields}).messages[1:]


def spoken(text: str, **fields: Any) -> Json:
    return {"role": "assistant", "content": [{"type": "output_text", "text": text}], **fields}


def call(call_id: str, name: str = "f", arguments: str = "{}") -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, text: Any = "1") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def thought(*texts: str, **fields: Any) -> Json:
    content = [{"type": "reasoning_text", "text": text} for text in texts]
    return {"type": "reasoning", "summary": [], "content": content, **fields}


@given(conversations())
def test_a_normal_conversation_comes_back_exactly(conversation: Conversation) -> None:
    """harmony -> Responses -> harmony keeps everything but the system content, which is handed over."""
    body = json.loads(json.dumps(to_responses(conversation)))
    system = conversation.messages[0].content[0]
    assert isinstance(system, SystemContent)
    assert from_responses(body, system=system) == conversation


@st.composite
def normal_bodies(draw: st.DrawFn) -> Json:
    """Bodies in normal form: each output behind its call, ids and phases as Responses gives them."""
    items: list[Json] = []
    ids = numbered()
    parts = st.lists(texts, min_size=2, max_size=3)
    for _ in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["user", "reasoning", "message", "call", "open call"])):
            case "user":
                several = [{"type": "input_text", "text": text} for text in draw(parts)]
                items.append({"type": "message", "role": "user", "content": draw(texts | st.just(several))})
            case "reasoning":
                items.append(thought(*draw(parts), id=ids("rs")))
            case "message":
                phase = draw(st.sampled_from(["commentary", "final_answer"]))
                content = [{"type": "output_text", "text": t, "annotations": []} for t in draw(parts)]
                common = {"type": "message", "id": ids("msg"), "role": "assistant", "status": "completed"}
                items.append({**common, "phase": phase, "content": content})
            case kind:
                name = draw(st.sampled_from(["f", "python", "browser.open"]))
                items.append({**call(ids("call"), name), "id": ids("fc"), "status": "completed"})
                if kind == "call":
                    items.append(output(items[-1]["call_id"], draw(texts)))
    body: Json = {"input": items}
    if draw(st.booleans()):
        body["instructions"] = draw(st.text("ab \n", min_size=1))
    if declared := draw(functions):
        body["tools"] = [
            {"type": "function", "strict": False, "parameters": None}
            | {key: value for key, value in function.model_dump(exclude_none=True).items() if value != ""}
            for function in declared
        ]
    if draw(st.booleans()):
        stated = {"type": "json_schema", "name": "p", "schema": {"type": "object", "properties": {}}}
        body["text"] = {"format": stated}
    body["reasoning"] = {"effort": draw(st.sampled_from(["low", "medium", "high"]))}
    return body


@given(normal_bodies())
def test_a_normal_body_comes_back_exactly(body: Json) -> None:
    """Responses -> harmony -> Responses keeps everything; ids are given anew, in the same order."""
    assert to_responses(from_responses(body), new_id=numbered()) == body


@st.composite
def wild_bodies(draw: st.DrawFn) -> Json:
    """Items as clients send them: several calls at once, outputs in any order or missing, no phases."""
    maybe = st.just("") | texts
    items: list[Json] = []
    ids = count(1)
    for _ in range(draw(st.integers(0, 4))):
        role = draw(st.sampled_from(["system", "developer", "user"]))
        items.append({"role": role, "content": draw(maybe)})
        if draw(st.booleans()):
            items.append(thought(*draw(st.lists(maybe, max_size=2))))
        if draw(st.booleans()):
            items.append(spoken(draw(maybe)))
        calls = [call(f"c{next(ids)}", draw(st.sampled_from("fg"))) for _ in range(draw(st.integers(0, 3)))]
        answered = draw(st.permutations([each["call_id"] for each in calls]))[: draw(st.integers(0, 3))]
        items += [*calls, *(output(call_id, draw(maybe)) for call_id in answered)]
    return {"input": items, "instructions": draw(st.none() | maybe)}


def texts_in(body: Json) -> Iterator[str]:
    """Every text that a client sends."""
    yield body["instructions"] or ""
    for item in body["input"]:
        content = item.get("content", [])
        yield from [content] if isinstance(content, str) else (part["text"] for part in content)
        yield from (item.get(field, "") for field in ("arguments", "output"))


@given(wild_bodies())
def test_what_clients_send_is_all_said(body: Json) -> None:
    """Not a character is lost beside newlines that join texts, and converted again it stays the same."""
    once = from_responses(body)
    assert characters(once) == Counter("".join(texts_in(body)).replace("\n", ""))
    assert from_responses(to_responses(once)) == once


def test_a_string_is_what_the_user_says() -> None:
    """With instructions before it."""
    developer, user = from_responses({"input": "Hi", "instructions": "Be kind."}).messages[1:]
    assert developer.content == [DeveloperContent(instructions="Be kind.")]
    assert user == text_message(Role.USER, ["Hi"])


def test_messages_of_the_application_follow_the_instructions() -> None:
    """System and developer items at the beginning are joined with them; a later one stays where it is."""
    system = {"role": "system", "content": [{"type": "input_text", "text": "B"}]}
    user = {"role": "user", "content": "Hi"}
    first, _, later = said(system, user, {**system, "role": "developer"}, instructions="A")
    assert first.content == [DeveloperContent(instructions="A\n\nB")]
    assert later.content == [DeveloperContent(instructions="B")]


def test_a_message_before_a_call_is_a_preamble() -> None:
    """Without a phase, what stands before a call is commentary, anything else is final; a phase decides."""
    channels = [
        message.channel
        for message in said(
            spoken("P"), thought("Hm."), call("1"), output("1"), spoken("A"), spoken("C", phase="commentary")
        )
    ]
    assert channels == ["commentary", "analysis", "commentary", "commentary", "final", "commentary"]
    assert said(spoken("A", phase="final_answer"), call("1"))[0].channel == "final"


def test_outputs_find_their_calls_by_id() -> None:
    """Each comes directly behind its call, in whatever order the client sent them."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    items = (call("1", "f"), call("2", "g"), output("2", parts), output("1", "c"))
    assert said(*items) == [
        *exchange("functions.f", "{}", ["c"]),
        *exchange("functions.g", "{}", ["a", "b"]),
    ]


def test_reasoning_is_its_content_or_else_its_summary() -> None:
    """Parts stay parts; an item that says nothing is no message."""
    summary = [{"type": "summary_text", "text": "In short."}]
    assert said(thought("a", "b", summary=summary)) == [text_message(Role.ASSISTANT, ["a", "b"], "analysis")]
    assert said({"type": "reasoning", "content": None, "summary": summary}) == [
        text_message(Role.ASSISTANT, ["In short."], "analysis")
    ]
    assert said({"type": "reasoning", "summary": []}) == []


def test_functions_are_not_strict_unless_stated() -> None:
    """The API takes a missing `strict` for true, which not every schema is fit for; so it is written."""
    (function,) = to_responses(from_responses({"input": "Hi", "tools": [{"type": "function", "name": "f"}]}))[
        "tools"
    ]
    assert function == {"type": "function", "name": "f", "parameters": None, "strict": False}


def test_the_output_of_a_completion_is_its_items() -> None:
    """Each message is an item with an id of its own kind."""
    tokens = harmony.load_encoding().encode(
        "<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        allowed_special="all",
    )
    items = to_responses(harmony.read_completion(tokens).messages)["input"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
    assert [str(item["id"]).partition("_")[0] for item in items] == ["rs", "msg", "fc"]
    assert items[1]["phase"] == "commentary"


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        ({}, "input", "is missing"),
        ({"input": 1}, "input", "must be a list, not a number"),
        ({"input": [{"role": "user", "content": {}}]}, "input[0].content", "a string or a list of parts"),
        ({"input": [{"role": "tool", "content": "1"}]}, "input[0].role", "'tool' is not a role"),
        ({"input": [{"type": "web_search_call", "id": "1"}]}, "input[0].type", "no 'web_search_call'"),
        ({"input": [{"type": "item_reference", "id": "1"}]}, "input[0].type", "no 'item_reference'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type",
            "no 'input_image'",
        ),
        ({"input": [call("1"), output("2")]}, "input[1].call_id", "'2'"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id", "is missing"),
        ({"input": [spoken("A", phase="first")]}, "input[0].phase", "'first'"),
        (
            {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
            "input[0].encrypted_content",
            "leave the item out",
        ),
        ({"input": "Hi", "tools": [{"type": "code_interpreter"}]}, "tools[0].type", "'code_interpreter'"),
        ({"input": "Hi", "reasoning": {"effort": "minimal"}}, "reasoning.effort", "low, medium or high"),
        (
            {"input": "Hi", "text": {"format": {"type": "json_schema", "name": "p"}}},
            "text.format.schema",
            "is missing",
        ),
    ],
)
def test_what_cannot_be_said_is_named(body: Json, path: str, says: str) -> None:
    """The error leads to the field and is one line."""
    with pytest.raises(ConversionError) as raised:
        from_responses(body)
    assert raised.value.path == path
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_of_authors_cannot_be_said() -> None:
    """Responses has no field for them, so they are not lost silently."""
    named = Message.from_author_and_content(Author.new(Role.USER, "bob"), "Hi")
    with pytest.raises(ConversionError, match=r"messages\[0\].name"):
        to_responses([named])


@settings(max_examples=30)
@given(conversations())
def test_the_real_client_takes_what_we_write(openai_types: OpenAITypes, conversation: Conversation) -> None:
    """The types of the openai package accept the body of any conversation as that of a request."""
    body = {"model": "gpt-oss-20b", **to_responses(conversation)}
    openai_types.validate("responses.response_create_params", "ResponseCreateParamsNonStreaming", body)


@given(turns())
def test_the_items_of_a_completion_are_the_output_of_a_response(
    openai_types: OpenAITypes, said: list[Message]
) -> None:
    """What the assistant says validates as output, not only as input."""
    items = to_responses([message for message in said if message.author.role == Role.ASSISTANT])["input"]
    for item in items:
        openai_types.validate("responses", "ResponseOutputItem", item)
