"""The local engine: its tokens, its cache, concurrent calls and its errors."""

import asyncio
import json
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony.errors import CheckpointError, ContextLengthError, EngineError, ModelError
from harmony.runtime.config import ModelConfig
from harmony.runtime.engine import Engine, read_default_sampling
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine
from harmony.runtime.model import Transformer

GREEDY = SamplingParams(temperature=0, max_tokens=6)
PROMPT = [5, 17, 290, 3, 44]


def new_engine(model: Transformer, context_length: int = 2000) -> Engine:
    return Engine(model, name="toy", context_length=context_length, default_sampling=SamplingParams())


@pytest.fixture
def engine(model: Transformer) -> Engine:
    return new_engine(model)


async def collect(
    engine: TokenEngine,
    prompt: Sequence[int],
    sampling: SamplingParams = GREEDY,
    stop: Collection[int] = (),
) -> list[GeneratedToken]:
    return [token async for token in engine.generate(prompt, sampling, stop=stop)]


def run(engine: TokenEngine, prompt: Sequence[int], *args: Any) -> list[GeneratedToken]:
    return asyncio.run(collect(engine, prompt, *args))


def ids(tokens: list[GeneratedToken]) -> list[int]:
    return [token.token for token in tokens]


def fresh(model: Transformer, prompt: Sequence[int], *args: Any) -> list[int]:
    return ids(run(new_engine(model), prompt, *args))


def test_greedy_tokens_are_the_models(engine: Engine, model: Transformer) -> None:
    """Each token is the argmax of the logits over everything before it."""
    tokens = list(PROMPT)
    for generated in run(engine, PROMPT):
        logits = model(torch.tensor(tokens), model.new_cache(100))
        assert generated.token == int(logits.argmax())
        tokens.append(generated.token)


def test_continuation_equals_a_fresh_run(engine: Engine, model: Transformer) -> None:
    """A prompt that goes on from the last generation computes only what is new, and the same tokens."""
    first = ids(run(engine, PROMPT))
    longer = [*PROMPT, *first, 9, 8, 7]
    second = run(engine, longer)
    assert {token.cached_tokens for token in second} == {len(PROMPT) + len(first) - 1}
    assert ids(second) == fresh(model, longer)


def test_same_prompt_again(engine: Engine, model: Transformer) -> None:
    """Of a prompt that the cache has whole, the last token alone is read again, for its logits."""
    run(engine, PROMPT)
    again = run(engine, PROMPT)
    assert {token.cached_tokens for token in again} == {len(PROMPT) - 1}
    assert ids(again) == fresh(model, PROMPT)


@pytest.mark.parametrize(("other", "shared"), [([5, 17, 290, 4], 3), ([5, 17], 1), ([1], 0)])
def test_another_prompt_goes_on_where_it_parts(
    other: list[int], shared: int, engine: Engine, model: Transformer
) -> None:
    """A prompt that leaves the cached tokens, or ends within them, is computed from there."""
    run(engine, PROMPT)
    second = run(engine, other)
    assert second[0].cached_tokens == shared
    assert ids(second) == fresh(model, other)


def test_long_prompt_is_read_in_chunks(engine: Engine, model: Transformer) -> None:
    """Chunked reading gives the tokens that one piece gives."""
    prompt = torch.randint(0, 300, (1300,)).tolist()
    first = run(engine, prompt)[0]
    logits = model(torch.tensor(prompt), model.new_cache(1300))
    assert first.token == int(logits.argmax())


def test_stop_token_ends_and_is_yielded(engine: Engine) -> None:
    """Generation ends with the first of the stop tokens."""
    third = ids(run(engine, PROMPT))[2]
    stopped = run(engine, PROMPT, GREEDY, [third, 299])
    assert stopped[-1].token == third
    assert [token.finish_reason for token in stopped] == [None] * (len(stopped) - 1) + ["stop"]


def test_limits_end_with_length(model: Transformer) -> None:
    """max_tokens and the end of the context both end with "length"."""
    reasons = [token.finish_reason for token in run(new_engine(model), PROMPT)]
    assert reasons == [None] * 5 + ["length"]
    small = new_engine(model, context_length=len(PROMPT) + 2)
    assert [token.finish_reason for token in run(small, PROMPT)] == [None, "length"]
    unlimited = SamplingParams(temperature=0)
    assert [token.finish_reason for token in run(small, PROMPT, unlimited)] == [None, "length"]


def test_seed_fixes_the_tokens(engine: Engine, model: Transformer) -> None:
    """One seed gives the same tokens on every engine, another seed others."""
    sampling = SamplingParams(seed=3, max_tokens=20)
    first = ids(run(engine, PROMPT, sampling))
    assert first == fresh(model, PROMPT, sampling)
    assert first != fresh(model, PROMPT, SamplingParams(seed=4, max_tokens=20))


def test_logprobs_are_reported(engine: Engine) -> None:
    """As many as asked, none by default, and at temperature 0 the sampled token leads."""
    assert run(engine, PROMPT)[0].logprob is None
    token = run(engine, PROMPT, SamplingParams(temperature=0, max_tokens=1, logprobs=3))[0]
    assert len(token.top_logprobs) == 3
    assert token.top_logprobs[0].token == token.token
    assert token.top_logprobs[0].logprob == token.logprob
    alone = run(engine, PROMPT, SamplingParams(temperature=0, max_tokens=1, logprobs=0))[0]
    assert (alone.logprob, alone.top_logprobs) == (token.logprob, ())


def test_closing_the_generator_cancels(engine: Engine, model: Transformer) -> None:
    """After a closed generation the engine goes on from what it had computed."""

    async def main() -> list[GeneratedToken]:
        generation = engine.generate(PROMPT, SamplingParams(temperature=0), stop=())
        taken = [(await anext(generation)).token, (await anext(generation)).token]
        await generation.aclose()
        return await collect(engine, [*PROMPT, *taken])

    continued = asyncio.run(main())
    assert continued[0].cached_tokens == len(PROMPT) + 1
    assert ids(continued) == fresh(model, PROMPT, SamplingParams(temperature=0, max_tokens=8))[2:]


def test_cancelled_task_leaves_the_engine_usable(engine: Engine, model: Transformer) -> None:
    """A task cancelled in the middle of a step, however many run beside it, spoils nothing."""

    async def main() -> list[int]:
        endless = SamplingParams(max_tokens=1000)
        first = asyncio.create_task(collect(engine, PROMPT, endless))
        second = asyncio.create_task(collect(engine, [1, 2, 3], endless))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.01)
        first.cancel()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        return ids(await collect(engine, PROMPT))

    assert asyncio.run(main()) == fresh(model, PROMPT)


def test_concurrent_calls_are_served_together(engine: Engine, model: Transformer) -> None:
    """Calls made at once are answered in the order they came, each as if it were alone."""
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    order: list[int] = []

    async def one(number: int) -> list[int]:
        tokens = ids(await collect(engine, prompts[number]))
        order.append(number)
        return tokens

    async def main() -> list[list[int]]:
        return await asyncio.gather(*(one(number) for number in range(3)))

    assert asyncio.run(main()) == [fresh(model, prompt) for prompt in prompts]
    assert order == [0, 1, 2]


def test_calls_from_several_event_loops(engine: Engine, model: Transformer) -> None:
    """Threads with event loops of their own share an engine."""
    prompts = [[n, n + 1] for n in range(6)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda prompt: ids(run(engine, prompt)), prompts))
    assert results == [fresh(model, prompt) for prompt in prompts]


def test_event_loop_stays_free(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a slow step runs, other tasks go on."""
    step = Transformer.__call__

    def slow(self: Transformer, *args: Any, **kwargs: Any) -> Tensor:
        time.sleep(0.2)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Transformer, "__call__", slow)

    async def main() -> int:
        ticks = 0
        generation = asyncio.create_task(collect(new_engine(model), PROMPT, SamplingParams(max_tokens=1)))
        while not generation.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(main()) > 5


def test_prompt_too_long(model: Transformer) -> None:
    """The numbers are told before anything is computed."""
    with pytest.raises(ContextLengthError, match="5 tokens and the context holds 5"):
        run(new_engine(model, context_length=5), PROMPT)


@pytest.mark.parametrize("prompt", [[5, 300], [-1, 5]])
def test_ids_outside_the_vocabulary(prompt: list[int], engine: Engine) -> None:
    """Ids that the embedding does not have are refused, not looked up."""
    with pytest.raises(EngineError, match="vocabulary of 300"):
        run(engine, prompt)


def test_empty_prompt(engine: Engine) -> None:
    """There is nothing to continue."""
    with pytest.raises(EngineError, match="empty"):
        run(engine, [])


def test_failed_step(engine: Engine, model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails ends the generation with one line, and the next one starts anew."""
    run(engine, PROMPT)
    with monkeypatch.context() as patch:

        def fail(*args: Any, **kwargs: Any) -> Tensor:
            raise RuntimeError("CUDA out of memory.\nSee the documentation")

        patch.setattr(Transformer, "__call__", fail)
        with pytest.raises(EngineError, match=r"CUDA out of memory.\)") as failed:
            run(engine, [*PROMPT, 1])
        assert "\n" not in str(failed.value)
    again = run(engine, PROMPT)
    assert again[0].cached_tokens == 0
    assert ids(again) == fresh(model, PROMPT)


def test_damaged_weights(config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Weights that give no finite logits end in an error, not in arbitrary tokens."""
    name = "block.1.mlp.mlp2_weight.scales"
    broken = Transformer(config, {**state, name: torch.full_like(state[name], 255)})
    with pytest.raises(EngineError, match="no finite logits"):
        run(new_engine(broken), PROMPT)


def test_closed_engine(engine: Engine) -> None:
    """After aclose, which may be called twice, generating says what to do."""

    async def main() -> None:
        await engine.aclose()
        await engine.aclose()
        await collect(engine, PROMPT)

    with pytest.raises(EngineError, match="closed; load the model again"):
        asyncio.run(main())


def test_load(checkpoint: Path) -> None:
    """A folder becomes an engine with its name, its longest context and bfloat16 weights."""
    engine = Engine.load(checkpoint, "cpu")
    assert (engine.name, engine.context_length) == ("model", 131072)
    assert engine.default_sampling == SamplingParams()
    assert len(run(engine, PROMPT)) == 6
    assert Engine.load(checkpoint, "cpu", context_length=64).context_length == 64


@pytest.mark.parametrize("length", [0, 131073])
def test_context_beyond_the_models(length: int, checkpoint: Path) -> None:
    """A context that the model does not have is refused."""
    with pytest.raises(ValueError, match="from 1 to 131072"):
        Engine.load(checkpoint, "cpu", context_length=length)


def test_device_that_is_not_there(checkpoint: Path) -> None:
    """The devices of this machine are listed."""
    with pytest.raises(ModelError, match=r"no device 'cuda:99' here; use one of cpu"):
        Engine.load(checkpoint, "cuda:99")


def test_float16_is_refused(checkpoint: Path) -> None:
    """Activations of gpt-oss overflow in float16."""
    with pytest.raises(ValueError, match="bfloat16, float32, not 'float16'"):
        Engine.load(checkpoint, "cpu", "float16")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ({"do_sample": True, "eos_token_id": [200002]}, SamplingParams()),
        ({"temperature": 0.7, "top_p": 0.9, "top_k": 40}, SamplingParams(0.7, 0.9, 40)),
        ({"temperature": None, "top_k": None}, SamplingParams()),
        ({"do_sample": False, "temperature": 0.7}, SamplingParams(temperature=0)),
    ],
)
def test_default_sampling(written: dict[str, Any], wanted: SamplingParams, tmp_path: Path) -> None:
    """generation_config.json says how the model wants to be sampled."""
    (tmp_path / "generation_config.json").write_text(json.dumps(written))
    assert read_default_sampling(tmp_path / "generation_config.json") == wanted


@pytest.mark.parametrize("written", ["{", "[]", '{"temperature": -1}', '{"top_p": "high"}'])
def test_damaged_generation_config(written: str, tmp_path: Path) -> None:
    """A generation_config.json that asks for nothing valid is named."""
    path = tmp_path / "generation_config.json"
    path.write_text(written)
    with pytest.raises(CheckpointError, match="generation_config"):
        read_default_sampling(path)


def test_kernels_are_launched_on_the_device_of_the_model(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made the current one while the model is loaded, and in the thread of the steps."""
    current: list[tuple[str, str]] = []

    class Current:
        def __init__(self, device: torch.device) -> None:
            self._device = device

        def __enter__(self) -> None:
            current.append((str(self._device), current_thread().name))

        def __exit__(self, *_: object) -> None:
            current.append(("before", current_thread().name))

    monkeypatch.setattr("harmony.runtime.engine.current", Current)
    engine = Engine.load(checkpoint, "cpu", context_length=100)
    here = current_thread().name
    assert current == [("cpu", here), ("before", here)]

    async def one() -> None:
        async for _ in engine.generate([1, 2], SamplingParams(max_tokens=1), stop=()):
            pass

    asyncio.run(one())
    assert current[2:] == [("cpu", "harmony-engine_0")]
