"""Tokens in, tokens out: our server as the engine of an agent somewhere else."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from masked import Masked
from openai import OpenAI
from pydantic import BaseModel
from scripted import Scripted
from served import served

from harmony import load_encoding
from harmony.agent import Agent
from harmony.errors import EngineError
from harmony.runtime.engine import Engine
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.models import TINY
from harmony.runtime.remote import RemoteEngine
from harmony.tools.functions import function

ENCODING = load_encoding()
STOP = ENCODING.stop_tokens_for_assistant_actions()
FINAL = "<|channel|>final<|message|>It is 21 °C 🦙.<|return|>"
PROMPT = ENCODING.encode("<|start|>user<|message|>Hi<|end|><|start|>assistant", allowed_special="all")


class Order(BaseModel):
    item: str
    quantity: int


@function
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    """The URL of the bundled model."""
    with served(Engine.load(TINY, device="cpu")) as url:
        yield url


def run(engine: Any, sampling: SamplingParams, prompt: list[int] = PROMPT) -> list[GeneratedToken]:
    async def collect() -> list[GeneratedToken]:
        return [token async for token in engine.generate(prompt, sampling, stop=STOP)]

    return asyncio.run(collect())


def test_an_engine_behind_it_gives_the_same_tokens(tiny: str) -> None:
    """Ids, reasons and logprobs are those of the engine in the same process."""
    remote, local = RemoteEngine(tiny), Engine.load(TINY, device="cpu")
    assert (remote.name, remote.context_length) == (local.name, local.context_length)
    for sampling in (
        SamplingParams(temperature=0, logprobs=2, max_tokens=40),
        SamplingParams(temperature=1, top_k=50, top_p=0.9, min_p=0.01, seed=5, max_tokens=7),
    ):
        theirs, ours = run(remote, sampling), run(local, sampling)
        assert [(t.token, t.finish_reason) for t in theirs] == [(t.token, t.finish_reason) for t in ours]
        for one, other in zip(theirs, ours, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
            assert [rank.token for rank in one.top_logprobs] == [rank.token for rank in other.top_logprobs]
    asyncio.run(local.aclose())


def test_an_agent_runs_on_it(tiny: str) -> None:
    """By its URL: a tool is called and answered, a type is enforced from here at temperature 2."""
    agent = Agent(tiny, tools=[get_weather], sampling=SamplingParams(temperature=0))
    result = agent.run_sync("What's the weather in Paris?", tool_choice="get_weather")
    assert any(message.recipient == "functions.get_weather" for message in result.messages)
    warm = Agent(tiny, sampling=SamplingParams(temperature=2, seed=1, max_tokens=90))
    assert isinstance(warm.run_sync("I ordered 12 apples.", output_type=Order).output, Order)


def test_a_server_on_a_server(tiny: str) -> None:
    """Our server on a remote engine enforces schemas too."""
    with (
        served(RemoteEngine(tiny)) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        response = client.responses.parse(
            model="tiny", input="Hi", text_format=Order, temperature=2, max_output_tokens=90
        )
    assert isinstance(response.output_parsed, Order)


def test_the_openai_client_reads_text() -> None:
    """Whole and streamed, with usage, in the client's own types; characters cut by tokens are whole."""
    tokens = ENCODING.encode(FINAL, allowed_special="all")
    with (
        served(Scripted(FINAL, FINAL)) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        options: Any = {"model": "scripted", "prompt": PROMPT, "max_tokens": 100}
        whole = client.completions.create(**options, extra_body={"return_token_ids": True})
        with client.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        ) as stream:
            *chunks, last = stream
    choice: Any = whole.choices[0]
    assert (choice.text, choice.finish_reason, choice.stop_reason) == (FINAL, "stop", 200002)
    assert (choice.prompt_token_ids, choice.token_ids) == (PROMPT, tokens)
    assert "".join(chunk.choices[0].text for chunk in chunks) == FINAL
    assert whole.usage == last.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len(tokens) == len(chunks)


def test_a_bias_leaves_only_what_it_allows() -> None:
    """By 100 these alone, by -100 all but these; the token is sampled."""
    text = ENCODING.encode(" yes")[0]
    answers = []
    with served(Masked(*["<|channel|>"] * 2)) as url:
        for bias in ({str(text): 100}, {str(200005): -100}):
            body = {"model": "scripted", "prompt": PROMPT, "max_tokens": 1, "logit_bias": bias}
            answer = httpx.post(
                f"{url}/v1/completions", json=body | {"return_token_ids": True}, trust_env=False
            )
            answers.append(answer.json()["choices"][0]["token_ids"])
    assert answers[0] == [text]
    assert answers[1] != [200005]


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"prompt": "Hi"}, "prompt", "array"),
        ({"prompt": []}, "prompt", "non-empty"),
        ({"prompt": [1, -1]}, "prompt", "token ids"),
        ({"prompt": [True]}, "prompt", "token ids"),
        ({"prompt": [201_088]}, "prompt", "token ids"),
        ({"prompt": [1] * 60}, "prompt", "60 tokens"),
        ({"model": "gpt-9"}, "model", "no model"),
        ({"top_p": 0}, "top_p", "top_p"),
        ({"seed": 5.0}, "seed", "integer"),
        ({"logit_bias": {"5": 1}, "max_tokens": 1}, "logit_bias", "100"),
        ({"logit_bias": {"a]": 100}, "max_tokens": 1}, "logit_bias", "token ids"),
        ({"logit_bias": {"5": 100}}, "logit_bias", "max_tokens 1"),
        ({"logit_bias": {"999999": 100}, "max_tokens": 1}, "logit_bias", "cannot be heeded"),
    ],
)
def test_what_is_refused(change: dict[str, Any], param: str, says: str) -> None:
    """In the official shape, with the field, before anything is sampled."""
    with served(Masked(context_length=50)) as url:
        answer = httpx.post(
            f"{url}/v1/completions",
            json={"model": "scripted", "prompt": PROMPT} | change,
            trust_env=False,
        )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (404 if param == "model" else 400, param)
    assert says in error["message"]


def test_an_engine_that_fails_is_told() -> None:
    """Whole by a 500, streamed by an event, which the client takes for a failure."""

    class Failing(Scripted):
        async def generate(self, *args: Any, **options: Any) -> Any:
            yield GeneratedToken(5)
            raise EngineError("the card is gone")

    with served(Failing()) as url:
        with pytest.raises(EngineError, match="card is gone"):
            run(RemoteEngine(url), SamplingParams(max_tokens=4))
        body = {"model": "scripted", "prompt": PROMPT}
        answer = httpx.post(f"{url}/v1/completions", json=body, trust_env=False)
    assert (answer.status_code, json.loads(answer.text)["error"]["type"]) == (500, "server_error")
