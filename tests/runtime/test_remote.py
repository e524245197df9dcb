"""RemoteEngine against local HTTP servers that speak as vLLM, SGLang and llama.cpp do."""

import asyncio
import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import httpx
import pytest
from scripted import Scripted
from served import listening
from starlette.types import Receive, Scope, Send
from stub_server import serve, sse

from harmony.errors import ContextLengthError, EngineError
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenLogprob
from harmony.runtime.remote import RemoteEngine
from harmony.server import Limits, create_app
from harmony.vocabulary import RETURN

Answer = Callable[[dict[str, Any]], Iterator[str] | tuple[int, Any]]
PROMPT = [1, 2, 3]
STOP = 99


MODELS = {
    "object": "list",
    "data": [
        {"id": "toy", "object": "model", "owned_by": "vllm", "max_model_len": 50},
        {"id": "other", "object": "model", "owned_by": "vllm", "max_model_len": 60},
    ],
}


def vllm_chunk(ids: list[int] | None, body: dict[str, Any], **rest: Any) -> str:
    """One event of vLLM's stream, with all the fields that it dumps."""
    logprobs = None
    if body["logprobs"] is not None and ids is not None:
        ranks = {f"token_id:{token}": -0.25 for token in ids} | {"token_id:7": -1.5, "token_id:8": -2.5}
        logprobs = {
            "text_offset": [0] * len(ids),
            "token_logprobs": [-0.25] * len(ids),
            "tokens": [f"token_id:{token}" for token in ids],
            "top_logprobs": [dict(reversed(ranks.items())) for _ in ids],
        }
    choice = {
        "index": 0,
        "text": "…",
        "logprobs": logprobs,
        "finish_reason": None,
        "stop_reason": None,
        "prompt_token_ids": None,
        "token_ids": ids,
        **rest,
    }
    return sse(
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "toy", "choices": [choice]}
    )


def vllm_events(body: dict[str, Any]) -> Iterator[str]:
    """Tokens 10, 11, 12 … in uneven chunks, and 99 as the seventh, as vLLM would send them."""
    script = [10, 11, 12, 13, 14, 15, STOP, 16, 17]
    length = min(body["max_tokens"], len(script))
    if STOP in body["stop_token_ids"]:
        length = min(length, script.index(STOP) + 1)
    cut = sorted({min(1, length), min(3, length), length})
    for start, end in zip([0, *cut], cut, strict=False):
        last = end == length
        stopped = last and script[length - 1] in body["stop_token_ids"]
        yield vllm_chunk(
            script[start:end],
            body,
            prompt_token_ids=body["prompt"] if start == 0 else None,
            finish_reason=("stop" if stopped else "length") if last else None,
            stop_reason=STOP if stopped else None,
        )
    yield "data: [DONE]\n\n"


VLLM = {"/v1/models": (200, MODELS), "/v1/completions": vllm_events}
PROPS = {
    "default_generation_settings": {"id": 0, "n_ctx": 40, "params": {"temperature": 0.8}},
    "total_slots": 1,
    "model_alias": "gpt-oss-toy",
    "model_path": "/models/gpt-oss-toy.gguf",
}


def llama_event(ids: list[int], predicted: int, body: dict[str, Any], content: str = "a") -> str:
    """One event of llama.cpp's stream."""
    event: dict[str, Any] = {
        "index": 0,
        "content": content,
        "tokens": ids,
        "stop": False,
        "id_slot": 0,
        "tokens_predicted": predicted,
        "tokens_evaluated": len(body["prompt"]),
    }
    if body.get("timings_per_token"):
        event["timings"] = {"cache_n": 2, "prompt_n": 1}
    if body["n_probs"]:
        top = [{"id": ids[0], "token": "a", "bytes": [97], "logprob": -0.25}]
        top += [{"id": 7, "token": "b", "bytes": [98], "logprob": -1.5}]
        scored = {"id": ids[0], "token": "a", "bytes": [97], "logprob": -0.25}
        event["completion_probabilities"] = [{**scored, "top_logprobs": top[: body["n_probs"]]}]
    return sse(event)


def llama_end(predicted: int, stop_type: str) -> str:
    """The last event, which brings no token."""
    about = {"tokens_predicted": predicted, "stop_type": stop_type, "timings": {"cache_n": 2}}
    return sse({"index": 0, "content": "", "tokens": [], "stop": True, **about})


def llama_whole(ids: list[int]) -> tuple[int, dict[str, Any]]:
    """What llama.cpp answers without a stream."""
    return 200, {"content": "…", "tokens": ids, "stop": True, "tokens_predicted": len(ids)}


def llama_events(body: dict[str, Any]) -> Iterator[str]:
    script = [10, 11, 12, 13, 14, 15, STOP][: body["n_predict"]]
    for count, token in enumerate(script, 1):
        yield llama_event([token], count, body)
    yield llama_end(len(script), "eos")


LLAMA = {"/props": (200, PROPS), "/completion": llama_events}


def sglang_chunk(ids: list[int], total: int, body: dict[str, Any], finish: Any = None) -> str:
    """One event of SGLang's stream; `ids` are all until now, or the new ones, and `total` counts all."""
    about: dict[str, Any] = {
        "id": "5f0c",
        "finish_reason": finish,
        "prompt_tokens": len(body["input_ids"]),
        "weight_version": "default",
        "completion_tokens": total,
        "cached_tokens": 2,
    }
    if body["return_logprob"]:
        about["input_token_logprobs"] = []
        about["output_token_logprobs"] = [[-0.25, token, None] for token in ids]
        if count := body["top_logprobs_num"]:
            top = [[[-0.25, token, None], [-1.5, 7, None]] for token in ids]
            about["output_top_logprobs"] = [ranks[:count] for ranks in top]
    return sse({"text": "…", "output_ids": ids, "meta_info": about})


def sglang_events(*, incremental: bool) -> Answer:
    def events(body: dict[str, Any]) -> Iterator[str]:
        """With ignore_eos no stop token ends it, only the limit."""
        limit = body["sampling_params"]["max_new_tokens"]
        assert body["sampling_params"]["ignore_eos"]
        script = [10, 11, 12, 13, 14, 15, STOP, 16, 17][:limit]
        for start, end in ((0, 1), (1, 3), (3, 3), (3, len(script))):
            ids = script[start:end] if incremental else script[:end]
            finish = {"type": "length", "length": limit} if end == limit else None
            yield sglang_chunk(ids, min(end, len(script)), body, finish)
        yield "data: [DONE]\n\n"

    return events


SGLANG_MODELS = {
    "object": "list",
    "data": [{"id": "toy", "object": "model", "owned_by": "sglang", "root": "toy", "max_model_len": 50}],
}
SGLANG = {"/v1/models": (200, SGLANG_MODELS), "/generate": sglang_events(incremental=False)}
INCREMENTAL = {"/v1/models": (200, SGLANG_MODELS), "/generate": sglang_events(incremental=True)}
SERVERS = pytest.mark.parametrize(
    "answers",
    [VLLM, SGLANG, INCREMENTAL, LLAMA],
    ids=["vllm", "sglang", "sglang-incremental", "llama.cpp"],
)


def run(
    engine: RemoteEngine, sampling: SamplingParams | None = None, prompt: list[int] = PROMPT
) -> list[GeneratedToken]:
    async def main() -> list[GeneratedToken]:
        return [t async for t in engine.generate(prompt, sampling or SamplingParams(), stop={STOP})]

    return asyncio.run(main())


@SERVERS
def test_tokens_come_through(answers: dict[str, Any]) -> None:
    """All ids in order, up to the stop token, which is yielded and marked."""
    with serve(answers) as server:
        tokens = run(RemoteEngine(server.url))
    assert [t.token for t in tokens] == [10, 11, 12, 13, 14, 15, STOP]
    assert [t.finish_reason for t in tokens] == [None] * 6 + ["stop"]


@SERVERS
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_limit(answers: dict[str, Any], limit: int) -> None:
    """max_tokens ends the generation with "length"."""
    with serve(answers) as server:
        tokens = run(RemoteEngine(server.url), SamplingParams(max_tokens=limit))
    assert len(tokens) == limit
    assert tokens[-1].finish_reason == "length"


@SERVERS
def test_logprobs(answers: dict[str, Any]) -> None:
    """The sampled token's, and as many of the most likely as were asked for."""
    with serve(answers) as server:
        engine = RemoteEngine(server.url)
        two = run(engine, SamplingParams(logprobs=2))[0]
        none = run(engine, SamplingParams(logprobs=0))[0]
    assert two.logprob == none.logprob == -0.25
    assert two.top_logprobs == (TokenLogprob(10, -0.25), TokenLogprob(7, -1.5))
    assert none.top_logprobs == ()


def test_what_vllm_is_asked() -> None:
    """The request names model, ids, stop ids and every sampling parameter, and asks for ids back."""
    sampling = SamplingParams(0.5, 0.9, 40, 0.1, seed=7, max_tokens=20)
    with serve(VLLM) as server:
        engine = RemoteEngine(server.url + "/v1/", model="other", api_key="secret")
        run(engine, sampling)
        assert (engine.name, engine.context_length) == ("other", 60)
        assert set(server.authorization) == {"Bearer secret"}
        body = server.body("/v1/completions")
    wanted = {
        "model": "other",
        "prompt": PROMPT,
        "max_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "seed": 7,
        "stop_token_ids": [STOP],
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": True,
    }
    assert {key: body[key] for key in wanted} == wanted


def test_what_llama_cpp_is_asked() -> None:
    """The request turns llama.cpp's own defaults off and asks for ids back; cached tokens are told."""
    with serve(LLAMA) as server:
        engine = RemoteEngine(server.url)
        tokens = run(engine, SamplingParams(seed=7))
        assert (engine.name, engine.context_length) == ("gpt-oss-toy", 40)
        body = server.body("/completion")
    wanted = {
        "prompt": PROMPT,
        "n_predict": 37,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "seed": 7,
        "return_tokens": True,
        "stream": True,
    }
    assert {key: body[key] for key in wanted} == wanted
    assert {token.cached_tokens for token in tokens} == {2}


def test_what_sglang_is_asked() -> None:
    """The parameters are those of its documentation, and cached tokens are told."""
    with serve(SGLANG) as server:
        engine = RemoteEngine(server.url, api_key="secret")
        tokens = run(engine, SamplingParams(0.5, 0.9, 0, 0.1, seed=7, max_tokens=20))
        assert (engine.name, engine.context_length) == ("toy", 50)
        assert set(server.authorization) == {"Bearer secret"}
        body = server.body("/generate")
    assert body == {
        "input_ids": PROMPT,
        "sampling_params": {
            "max_new_tokens": 20,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": -1,
            "min_p": 0.1,
            "sampling_seed": 7,
            "logit_bias": None,
            "ignore_eos": True,
            "repetition_penalty": 1.0,
            "skip_special_tokens": False,
        },
        "return_logprob": False,
        "top_logprobs_num": 0,
        "stream": True,
    }
    assert {token.cached_tokens for token in tokens} == {2}


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"output_ids": [1], "finish": {"type": "abort", "message": "out of memory"}}, "out of memory"),
        ({"output_ids": [1], "total": 3}, "left out"),
        ({"output_ids": None}, "no token ids back"),
    ],
)
def test_what_goes_wrong_at_sglang(event: dict[str, Any], says: str) -> None:
    """A request that is given up, tokens that are missing, a stream of text alone."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        about = {"completion_tokens": event.get("total", 1), "cached_tokens": 0}
        about["finish_reason"] = event.get("finish")
        yield sse({"text": "a", "output_ids": event["output_ids"], "meta_info": about})

    answers = {**SGLANG, "/generate": events}
    with serve(answers) as server, pytest.raises(EngineError, match=says):
        run(RemoteEngine(server.url))


@pytest.mark.parametrize("pieces", [[20, 21, 22], [21, 22]])
def test_swallowed_tokens_of_llama_cpp(pieces: list[int]) -> None:
    """Tokens that end inside a character, for which llama.cpp sends no event, are put back."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        yield llama_event([10], 1, body)
        yield llama_event([22], 1 + len(pieces), body, content="🦙")
        yield llama_event([STOP], 2 + len(pieces), body, content="")

    answers = {**LLAMA, "/completion": events, "/tokenize": (200, {"tokens": pieces})}
    with serve(answers) as server:
        assert [t.token for t in run(RemoteEngine(server.url))] == [10, *pieces, STOP]
        assert server.body("/tokenize")["content"] == "🦙"


def test_several_tokens_at_once_are_not_swallowed() -> None:
    """With speculative decoding the count runs ahead; nothing is put back that is not missing."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        yield llama_event([10], 3, body)
        yield llama_event([11], 3, body, content="é")
        yield llama_event([STOP], 3, body)

    answers = {**LLAMA, "/completion": events, "/tokenize": (200, {"tokens": [11]})}
    with serve(answers) as server:
        assert [t.token for t in run(RemoteEngine(server.url))] == [10, 11, STOP]


@pytest.mark.parametrize(
    ("content", "pieces"),
    [("🦙", [5, 6]), ("🦙", [21, 22]), ("�", [20, 22])],
    ids=["others", "fewer", "broken"],
)
def test_swallowed_tokens_that_the_text_does_not_tell(content: str, pieces: list[int]) -> None:
    """They are asked for as a whole, after those that came before, and the stream goes on after them."""

    def events(body: dict[str, Any]) -> Iterator[str] | tuple[int, Any]:
        if not body["stream"]:
            return llama_whole([20, 21, 22])
        if body["prompt"] == PROMPT:
            return iter([llama_event([10], 1, body), llama_event([22], 4, body, content=content)])
        return iter([llama_event([11], 1, body), llama_event([STOP], 2, body)])

    answers = {**LLAMA, "/completion": events, "/tokenize": (200, {"tokens": pieces})}
    with serve(answers) as server:
        tokens = run(RemoteEngine(server.url), SamplingParams(seed=5, max_tokens=9))
        asked = [body for path, body in server.requests if path == "/completion"]
    assert [t.token for t in tokens] == [10, 20, 21, 22, 11, STOP]
    assert [t.finish_reason for t in tokens] == [None] * 5 + ["stop"]
    about = [(body["prompt"], body["stream"], body["n_predict"], body["seed"]) for body in asked]
    assert about == [
        (PROMPT, True, 9, 5),
        ([*PROMPT, 10], False, 3, 6),
        ([*PROMPT, 10, 20, 21, 22], True, 5, 9),
    ]


def test_a_limit_that_swallows_the_last_tokens() -> None:
    """The end of the stream tells that some are missing; they are asked for as a whole."""

    def events(body: dict[str, Any]) -> Iterator[str] | tuple[int, Any]:
        if not body["stream"]:
            return llama_whole([20, 21])
        return iter([llama_event([10], 1, body), llama_end(3, "limit")])

    with serve({**LLAMA, "/completion": events}) as server:
        tokens = run(RemoteEngine(server.url), SamplingParams(max_tokens=3))
    assert [(t.token, t.finish_reason) for t in tokens] == [(10, None), (20, None), (21, "length")]


def test_llama_cpp_ends_where_the_caller_does_not() -> None:
    """At an end token of the model's that is no stop token here, it is asked to go on."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        if body["prompt"] == PROMPT:
            return iter([llama_event([77], 1, body), llama_end(1, "eos")])
        return iter([llama_event([STOP], 1, body)])

    with serve({**LLAMA, "/completion": events}) as server:
        assert [t.token for t in run(RemoteEngine(server.url))] == [77, STOP]


def test_no_ids_back() -> None:
    """A server that knows no return_token_ids is told apart before a token is yielded."""
    answers = {**VLLM, "/v1/completions": lambda body: iter([vllm_chunk(None, body)])}
    with serve(answers) as server, pytest.raises(EngineError, match="no token ids back"):
        run(RemoteEngine(server.url))
    answers = {**LLAMA, "/completion": lambda body: iter([llama_event([], 1, {**body, "n_probs": 0})])}
    with serve(answers) as server, pytest.raises(EngineError, match="no token ids back"):
        run(RemoteEngine(server.url))


@SERVERS
def test_prompt_too_long(answers: dict[str, Any]) -> None:
    """A prompt that fills the server's context is refused before anything is sent."""
    with serve(answers) as server:
        engine = RemoteEngine(server.url)
        heard = len(server.requests)
        with pytest.raises(ContextLengthError, match="the prompt has 60 tokens"):
            run(engine, prompt=[1] * 60)
        assert len(server.requests) == heard


def test_not_reachable() -> None:
    """An address where nothing listens is named."""
    with serve({}) as server:
        url = server.url
    with pytest.raises(EngineError, match=r"127.0.0.1:\d+ failed .*check that the server runs"):
        RemoteEngine(url)


def test_gone_after_it_was_found() -> None:
    """A server that goes away between two calls is an EngineError too."""
    with serve(VLLM) as server:
        engine = RemoteEngine(server.url)
    with pytest.raises(EngineError, match="check that the server runs"):
        run(engine)


def test_neither_protocol() -> None:
    """Another web server is told by what it answers."""
    with serve({"/v1/models": (401, {"error": "no key"})}) as server:
        with pytest.raises(EngineError, match=r"HTTP 404.*HTTP 401.*api_key") as refused:
            RemoteEngine(server.url)
        assert server.url in str(refused.value)


def test_model_that_is_not_served() -> None:
    """The served models are listed."""
    with serve(VLLM) as server, pytest.raises(EngineError, match="serves toy, other"):
        RemoteEngine(server.url, model="missing")


def test_context_length_that_is_not_told() -> None:
    """A server that does not tell its context needs it as an argument."""
    answers = {"/v1/models": (200, {"data": [{"id": "toy"}]})}
    with serve(answers) as server:
        with pytest.raises(EngineError, match="pass context_length"):
            RemoteEngine(server.url)
        assert RemoteEngine(server.url, context_length=8).context_length == 8


@pytest.mark.parametrize("said", [{"error": {"message": "no such\nmodel", "code": 404}}, "no such model"])
def test_refused_request(said: object) -> None:
    """The server's own words come in one line with the status."""
    with (
        serve({**VLLM, "/v1/completions": (400, said)}) as server,
        pytest.raises(EngineError, match=r"HTTP 400\): no such model$"),
    ):
        run(RemoteEngine(server.url))


@pytest.mark.parametrize(
    "line", ['data: {"error": {"message": "out of memory"}}\n\n', 'error: {"message": "out of memory"}\n\n']
)
def test_error_in_the_stream(line: str) -> None:
    """An error event after the first tokens ends the generation, and nothing is retried."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        yield llama_event([10], 1, body)
        yield line

    with serve({**LLAMA, "/completion": events}) as server:
        with pytest.raises(EngineError, match="out of memory"):
            run(RemoteEngine(server.url))
        assert [path for path, _ in server.requests].count("/completion") == 1


@pytest.mark.parametrize("cut", [["[DONE]"], [], ['{"choices": [{"tok']])
def test_stream_that_breaks_off(cut: list[str]) -> None:
    """A stream that ends before a stop token or the limit is an error, whatever its last words."""

    def events(body: dict[str, Any]) -> Iterator[str]:
        yield vllm_chunk([10, 11], body)
        yield from (f"data: {data}\n\n" for data in cut)

    with (
        serve({**VLLM, "/v1/completions": events}) as server,
        pytest.raises(EngineError, match=r"broke off after 2 tokens|failed while it generated"),
    ):
        run(RemoteEngine(server.url))


def test_event_of_an_unknown_form() -> None:
    """An event without the fields of the protocol is told as such."""
    with (
        serve({**VLLM, "/v1/completions": lambda body: iter([sse({"id": 1})])}) as server,
        pytest.raises(EngineError, match="unknown form"),
    ):
        run(RemoteEngine(server.url))


@pytest.mark.parametrize(
    "models",
    ["toy", None, {"toy": 1}, ["toy"], [None], [{}], [{"id": "toy", "max_model_len": "long"}]],
)
def test_models_of_an_unknown_form(models: object) -> None:
    """Whatever else is listed is told, and is no error of Python's."""
    with serve({"/v1/models": (200, {"data": models})}) as server, pytest.raises(EngineError):
        RemoteEngine(server.url)


@pytest.mark.parametrize("settings", [None, [], {"n_ctx": "long"}, {"n_ctx": 0}])
def test_props_of_an_unknown_form(settings: object) -> None:
    """So are properties that are not those of llama.cpp."""
    answers = {"/props": (200, {"default_generation_settings": settings})}
    with serve(answers) as server, pytest.raises(EngineError):
        RemoteEngine(server.url)


@pytest.mark.parametrize("ids", [[10**9], [-1], ["a"], [1.0], [True], [None], [[1]], "ab", {"a": 1}])
def test_ids_of_no_token(ids: Any) -> None:
    """A server that gives anything else for a token id is told by what it gave."""
    with (
        serve({**VLLM, "/v1/completions": lambda body: iter([vllm_chunk(ids, body)])}) as server,
        pytest.raises(EngineError, match="for a token id"),
    ):
        run(RemoteEngine(server.url), SamplingParams(max_tokens=5))


@pytest.mark.parametrize("choices", [None, 1, "x", [None], [1], {"a": 1}])
def test_choices_of_an_unknown_form(choices: object) -> None:
    """So is an event whose parts are none."""
    with (
        serve({**VLLM, "/v1/completions": lambda body: iter([sse({"choices": choices})])}) as server,
        pytest.raises(EngineError, match="unknown form"),
    ):
        run(RemoteEngine(server.url))


@pytest.mark.parametrize(
    "change",
    [
        {"content": None, "tokens_predicted": 2},
        {"timings": None},
        {"timings": {"cache_n": "all"}},
        {"tokens": ["x"]},
    ],
)
def test_events_of_llama_cpp_of_an_unknown_form(change: dict[str, Any]) -> None:
    """A part of the wrong type is told, whatever it is."""
    event = {"tokens": [10], "tokens_predicted": 1, "stop": False, "content": "é"} | change
    with (
        serve({**LLAMA, "/completion": lambda body: iter([sse(event)])}) as server,
        pytest.raises(EngineError, match=r"unknown form|token id|were cached"),
    ):
        run(RemoteEngine(server.url))


def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer to read than all else that a short generation costs here."""
    read = []
    context = ssl.create_default_context

    def counted(*args: Any, **options: Any) -> ssl.SSLContext:
        read.append(1)
        return context(*args, **options)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    with serve(VLLM) as server:
        engine = RemoteEngine(server.url)
        for _ in range(3):
            run(engine)
    assert len(read) == 1


def test_closing_the_generator_closes_the_connection() -> None:
    """A server that goes on generating finds its client gone."""

    def endless(body: dict[str, Any]) -> Iterator[str]:
        for count in range(1, 1000):
            yield llama_event([10], count, body)
            time.sleep(0.005)

    async def main(engine: RemoteEngine) -> None:
        generation = engine.generate(PROMPT, SamplingParams(), stop={STOP})
        await anext(generation)
        await generation.aclose()

    with serve({**LLAMA, "/completion": endless}) as server:
        asyncio.run(main(RemoteEngine(server.url)))
        assert server.gone.wait(5)


class Counted:
    """A server of ours that counts the connections on which requests came."""

    def __init__(self, *turns: str) -> None:
        self.app = create_app(Scripted(*turns), limits=Limits(requests=1000))
        self.connections: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/v1/completions":
            self.connections.append(scope["client"])
        await self.app(scope, receive, send)


TURN = "<|channel|>final<|message|>It is 42.<|return|>"


async def turns(engine: RemoteEngine, count: int) -> None:
    for _ in range(count):
        tokens = [token async for token in engine.generate(PROMPT, SamplingParams(), stop={RETURN})]
        assert tokens[-1].token == RETURN


def test_turns_share_a_connection() -> None:
    """One after the other, at a real server: the first connection serves them all."""
    app = Counted(*[TURN] * 20)
    with listening(app) as url:
        asyncio.run(turns(RemoteEngine(url), 20))
    assert len(app.connections) == 20
    assert len(set(app.connections)) == 1


def test_hundreds_at_once_have_a_connection_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 loops of three turns each, from one process: none waits for another, or opens a second one.

    Neither side closes what was idle, as on a slow machine a connection is for seconds.
    """
    monkeypatch.setattr("harmony.runtime.remote.KEPT", httpx.Limits(keepalive_expiry=None))
    app = Counted(*[TURN] * 600)

    async def all_at_once(engine: RemoteEngine) -> None:
        await asyncio.gather(*(turns(engine, 3) for _ in range(200)))

    with listening(app, timeout_keep_alive=600) as url:
        asyncio.run(all_at_once(RemoteEngine(url)))
    assert len(app.connections) == 600
    assert len(set(app.connections)) <= 200


def test_connections_end_with_their_event_loop() -> None:
    """An engine serves one loop after another, and leaves no socket open, which would be a warning."""
    app = Counted(*[TURN] * 2)
    with listening(app) as url:
        engine = RemoteEngine(url)
        for _ in range(2):
            asyncio.run(turns(engine, 1))
            gc.collect()
    assert len(set(app.connections)) == 2


def test_closing_an_engine_closes_its_connections() -> None:
    """And it can be used again."""
    app = Counted(*[TURN] * 2)

    async def close_between(engine: RemoteEngine) -> None:
        await turns(engine, 1)
        await engine.aclose()
        await turns(engine, 1)
        await engine.aclose()

    with listening(app) as url:
        asyncio.run(close_between(RemoteEngine(url)))
    assert len(set(app.connections)) == 2


@pytest.mark.parametrize("tokens", [0, 1], ids=["before the answer", "in it"])
def test_closing_an_engine_ends_what_is_in_flight(tokens: int) -> None:
    """With an error that says so; the server finds its client gone, and no socket is left to the garbage."""
    ended = threading.Event()

    def slow(body: dict[str, Any]) -> Iterator[str]:
        for count in range(1, tokens + 1):
            yield llama_event([10], count, body)
        ended.wait(30)
        while True:
            yield llama_event([10], 1, body)

    async def close_within(engine: RemoteEngine) -> None:
        generation = engine.generate(PROMPT, SamplingParams(), stop={STOP})
        for _ in range(tokens):
            await anext(generation)
        next_token = asyncio.ensure_future(anext(generation))
        while "/completion" not in dict(server.requests):
            await asyncio.sleep(0.01)
        await engine.aclose()
        with pytest.raises(EngineError, match="closed while it generated"):
            await next_token

    with serve({**LLAMA, "/completion": slow}) as server:
        asyncio.run(close_within(RemoteEngine(server.url)))
        gc.collect()
        ended.set()
        assert server.gone.wait(5)


def test_closing_an_engine_ends_what_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that comes over the connection all the same is not read."""
    connect = anyio.connect_tcp

    async def close_within(engine: RemoteEngine) -> None:
        begun, closed = asyncio.Event(), asyncio.Event()

        async def connect_late(*address: Any, **options: Any) -> Any:
            begun.set()
            await closed.wait()
            return await connect(*address, **options)

        monkeypatch.setattr(anyio, "connect_tcp", connect_late)
        generation = engine.generate(PROMPT, SamplingParams(), stop={STOP})
        first_token = asyncio.ensure_future(anext(generation))
        await begun.wait()
        await engine.aclose()
        closed.set()
        with pytest.raises(EngineError, match="closed while it generated"):
            await first_token

    with serve(LLAMA) as server:
        asyncio.run(close_within(RemoteEngine(server.url)))
        gc.collect()


@pytest.mark.parametrize("kept", [True, False], ids=["a kept connection", "every connection"])
def test_a_connection_that_breaks_before_the_answer(kept: bool) -> None:
    """The request is sent once more, on a new connection, since nothing was sampled."""
    heard: list[str] = []
    body = vllm_chunk([10, STOP], {"logprobs": None}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for number in range(2):
                asked = [*iter(lines.readline, b"\r\n")] if lines.peek(1) else []
                if not asked:
                    return
                heard.append(asked[0].decode())
                length = next(
                    int(line.split()[1]) for line in asked if line.lower().startswith(b"content-length")
                )
                lines.read(length)
                if number == 1 or not kept:
                    return
                connection.sendall(head + body)

    async def twice(engine: RemoteEngine) -> None:
        for _ in range(2):
            async for _ in engine.generate(PROMPT, SamplingParams(), stop={STOP}):
                pass

    with serve(VLLM) as server, accepting(talk) as url:
        engine = RemoteEngine(server.url)
        engine._url = url
        if kept:
            asyncio.run(twice(engine))
        else:
            with pytest.raises(EngineError, match="check that the server runs"):
                asyncio.run(twice(engine))
    assert len(heard) == (3 if kept else 2)


@contextmanager
def accepting(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that lets `talk` have every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
