"""The openai client against our server: whole, streamed, asynchronous; with tools, with what is kept."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pydantic
import pytest
from masked import Masked
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from scripted import Scripted
from served import Calculator, served

from harmony import load_encoding

ENCODING = load_encoding()
THOUGHT = "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant"
CALL = (
    THOUGHT + "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    '{"city": "Paris"}<|call|>'
)
FINAL = "<|channel|>final<|message|>It is sunny.<|return|>"
PYTHON = "<|channel|>analysis to=python code<|message|>6 * 7<|call|>"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": False}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
EVENTS: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)


@contextmanager
def client(engine: Scripted, **options: Any) -> Iterator[OpenAI]:
    with (
        served(engine, **options) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai_client,
    ):
        yield openai_client


def responses_events(engine: Scripted, **options: Any) -> list[Any]:
    """The events of a streamed response, each validated anew by the client's own type."""
    with (
        client(engine, tools=options.pop("builtin", ())) as c,
        c.responses.create(model="scripted", input="Hi", stream=True, **options) as stream,
    ):
        return [EVENTS.validate_python(event.model_dump()) for event in stream]


def test_a_response_has_its_items_text_and_usage() -> None:
    """Reasoning and message are items of the client's types."""
    with client(Scripted(THOUGHT + FINAL)) as c:
        response = c.responses.create(model="scripted", input="Hi", reasoning={"effort": "low"})
    assert Response.model_validate(response.model_dump(), strict=False)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert (response.status, response.output_text) == ("completed", "It is sunny.")
    assert response.usage is not None
    assert response.usage.output_tokens == len(ENCODING.encode(THOUGHT + FINAL, allowed_special="all"))
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    assert response.reasoning is not None
    assert response.reasoning.effort == "low"


def test_events_come_in_the_official_order() -> None:
    """Each part opens, grows and closes; the numbers count up; the deltas make up the text."""
    events = responses_events(Scripted(THOUGHT + FINAL))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert [kind for n, kind in enumerate(kinds) if kinds[n - 1 : n] != [kind]] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == "It is sunny."


def test_a_call_streams_its_arguments() -> None:
    """The deltas of a call are its arguments, and its name is that of the function."""
    events = responses_events(Scripted(CALL), tools=[TOOL])
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    (done,) = (e for e in events if e.type == "response.function_call_arguments.done")
    assert "".join(deltas) == done.arguments == '{"city": "Paris"}'
    assert events[-1].response.output[-1].name == "get_weather"


def test_the_built_in_python_runs_on_the_server() -> None:
    """Its call and result are events of a code interpreter, and the answer follows."""
    events = responses_events(Scripted(PYTHON, FINAL), builtin=[Calculator()])
    call, message = events[-1].response.output
    assert (call.code, call.outputs[0].logs, message.type) == ("6 * 7", "42", "message")
    assert "response.code_interpreter_call.interpreting" in [event.type for event in events]


def test_a_limit_ends_incomplete() -> None:
    """Streamed or not, the status says so and the items too."""
    with client(Scripted(FINAL, FINAL)) as c:
        whole = c.responses.create(model="scripted", input="Hi", max_output_tokens=5)
        chat = c.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=5
        )
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert (whole.incomplete_details.reason, whole.output_text) == ("max_output_tokens", "It is")
    assert (chat.choices[0].finish_reason, chat.choices[0].message.content) == ("length", "It is")
    assert responses_events(Scripted(FINAL), max_output_tokens=5)[-1].type == "response.incomplete"


def assert_second_prompt_goes_on(engine: Scripted) -> None:
    """The second prompt begins with the first and what was sampled, reasoning and all."""
    first, second = engine.prompts
    sampled = ENCODING.encode(CALL, allowed_special="all")
    assert second[: len(first) + len(sampled)] == first + sampled
    assert "sunny, 21" in ENCODING.decode(second[len(first) + len(sampled) :])


@pytest.mark.parametrize("keeps_reasoning", [True, False])
def test_responses_tool_loop(keeps_reasoning: bool) -> None:
    """A client that sends the items back goes on from the sampled tokens, even without the reasoning."""
    engine = Scripted(CALL, FINAL)
    with client(engine) as c:
        items: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = c.responses.create(model="scripted", input=items, tools=[TOOL])
        items += [i.to_dict() for i in first.output if keeps_reasoning or i.type != "reasoning"]
        call: Any = first.output[-1]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21"})
        second = c.responses.create(model="scripted", input=items, tools=[TOOL])
    assert second.output_text == "It is sunny."
    assert_second_prompt_goes_on(engine)


def test_previous_response_id() -> None:
    """Only what is new is sent, and the prompt goes on from the sampled tokens."""
    engine = Scripted(CALL, FINAL)
    with client(engine) as c:
        first = c.responses.create(model="scripted", input="Weather?", tools=[TOOL])
        call: Any = first.output[-1]
        second = c.responses.create(
            model="scripted",
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21"}],
            tools=[TOOL],
        )
        with pytest.raises(openai.NotFoundError, match="send the conversation"):
            c.responses.create(model="scripted", previous_response_id="resp_x", input="Hi")
    assert second.previous_response_id == first.id
    assert_second_prompt_goes_on(engine)


def test_chat_tool_loop() -> None:
    """Chat clients drop the reasoning; between calls it is put back."""
    engine = Scripted(CALL, FINAL)
    with client(engine) as c:
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        first = c.chat.completions.create(model="scripted", messages=messages, tools=[CHAT_TOOL])
        said = first.choices[0].message
        assert (first.choices[0].finish_reason, said.model_extra["reasoning"]) == (  # type: ignore[index]
            "tool_calls",
            "Look it up.",
        )
        assert said.tool_calls is not None
        calls = [call.to_dict() for call in said.tool_calls]
        messages.append({"role": "assistant", "content": said.content, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "sunny, 21"})
        second = c.chat.completions.create(model="scripted", messages=messages, tools=[CHAT_TOOL])
    assert second.choices[0].message.content == "It is sunny."
    assert_second_prompt_goes_on(engine)


def test_chat_streams_chunks_that_the_client_adds_up() -> None:
    """Its accumulator makes of the chunks the message that is sent whole, with usage at the end."""
    with (
        client(Scripted(CALL)) as c,
        c.chat.completions.stream(
            model="scripted",
            messages=[{"role": "user", "content": "Weather?"}],
            tools=[CHAT_TOOL],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0


def test_parse_reads_the_arguments_of_a_tool() -> None:
    """`parse` makes the model's call an object of the user's class."""

    class get_weather(pydantic.BaseModel):
        city: str

    with client(Masked(CALL, CALL)) as c:
        chat = c.chat.completions.parse(
            model="scripted",
            messages=[{"role": "user", "content": "Weather?"}],
            tools=[openai.pydantic_function_tool(get_weather)],
        )
        response = c.responses.parse(model="scripted", input="Hi", tools=[TOOL | {"strict": True}])
    (call,) = chat.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == get_weather(city="Paris")
    parsed: Any = response.output[-1]
    assert parsed.parsed_arguments == {"city": "Paris"}


def test_the_asynchronous_client() -> None:
    """Requests at once, streamed, are each answered."""

    async def ask(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as c:

            async def one() -> str:
                async with c.responses.stream(model="scripted", input="Hi") as stream:
                    return (await stream.get_final_response()).output_text

            return await asyncio.gather(*(one() for _ in range(8)))

    with served(Scripted(*[FINAL] * 8)) as url:
        assert asyncio.run(ask(url)) == ["It is sunny."] * 8


def test_models() -> None:
    """The one model is listed and described."""
    with client(Scripted()) as c:
        assert [model.id for model in c.models.list()] == ["scripted"]
        assert c.models.retrieve("scripted").object == "model"
        with pytest.raises(openai.NotFoundError):
            c.models.retrieve("gpt-9")
