"""openai-agents runs its loop, its tools and its streams on our server, by both APIs."""

import asyncio
from typing import Any

import pydantic
import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from masked import Masked
from openai import AsyncOpenAI
from served import served

from harmony import load_encoding

CALL = (
    "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant"
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    '{"city": "Paris"}<|call|>'
)
FINAL = "<|channel|>final<|message|>It is sunny.<|return|>"
MODELS = [OpenAIResponsesModel, OpenAIChatCompletionsModel]


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def answer(url: str, model: type[Any], *, stream: bool) -> str:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        served_model: Model = model(model="scripted", openai_client=client)
        agent = Agent(name="Guide", instructions="Be brief.", model=served_model, tools=[get_weather])
        config = RunConfig(tracing_disabled=True)
        if not stream:
            return str((await Runner.run(agent, "Weather?", run_config=config)).final_output)
        run = Runner.run_streamed(agent, "Weather?", run_config=config)
        async for _ in run.stream_events():
            pass
        return str(run.final_output)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_with_a_tool(model: type[Any], stream: bool) -> None:
    """Its tool is called with the model's arguments, and the second prompt goes on from the first."""
    engine = Masked(CALL, FINAL)
    with served(engine) as url:
        assert asyncio.run(answer(url, model, stream=stream)) == "It is sunny."
    first, second = engine.prompts
    sampled = load_encoding().encode(CALL, allowed_special="all")
    assert second[: len(first) + len(sampled)] == first + sampled
    assert "sunny in Paris" in load_encoding().decode(second[len(first) + len(sampled) :])


class Forecast(pydantic.BaseModel):
    sky: str
    degrees: int


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_with_a_tool_and_an_output_type(model: type[Any], stream: bool) -> None:
    """A model that would chat calls the tool that is demanded, then answers by the type."""
    chatty = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant" + FINAL

    async def forecast(url: str) -> tuple[object, list[str]]:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            agent = Agent(
                name="Guide",
                model=model(model="scripted", openai_client=client),
                model_settings=ModelSettings(tool_choice="required"),
                tools=[get_weather],
                output_type=Forecast,
            )
            config = RunConfig(tracing_disabled=True)
            if not stream:
                done: Any = await Runner.run(agent, "Weather?", run_config=config)
            else:
                done = Runner.run_streamed(agent, "Weather?", run_config=config)
                async for _ in done.stream_events():
                    pass
            return done.final_output, [item.type for item in done.new_items]

    with served(Masked(chatty, FINAL)) as url:
        output, kinds = asyncio.run(forecast(url))
    assert isinstance(output, Forecast)
    assert [kind for kind in kinds if "reasoning" not in kind] == [
        "tool_call_item",
        "tool_call_output_item",
        "message_output_item",
    ]
