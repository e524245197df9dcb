"""A constraint kept on servers that know of none, which sample what they like and heed a bias."""

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from stub_server import serve, sse

from harmony.errors import EngineError, GrammarError
from harmony.runtime.constraint import Constraint, Interruption
from harmony.runtime.generation import ConstrainedEngine, GeneratedToken, SamplingParams
from harmony.runtime.grammars import Grammars
from harmony.runtime.remote import RemoteEngine
from harmony.runtime.token_table import TokenTable

STOP = 256
SIZE = 300
BYTES = TokenTable(
    {bytes([octet]): octet for octet in range(256)},
    {"<|end|>": STOP, "<|eot|>": 299},
    lambda text: [*text.encode()],
    SIZE,
    299,
)
OBJECT = """start: %json {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]},
    "legs": {"type": "integer"}}, "required": ["kind", "legs"], "additionalProperties": false,
    "x-guidance": {"whitespace_flexible": false}} <|end|>"""


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(BYTES)


class Sampling:
    """A server's model: any token is as likely as any other, or the next of a text; a bias decides."""

    def __init__(self, text: bytes | None = None, *, heeds: bool = True) -> None:
        self.text, self.heeds, self.requests = text, heeds, 0
        self._random = Random(1)

    def tokens(self, body: dict[str, Any], most: int) -> Iterator[int]:
        self.requests += 1
        bias = {int(token): value for token, value in dict(body["logit_bias"] or {}).items()}
        written = len(body["prompt"]) - 1
        for position in range(written, written + most):
            token = self._random.randrange(SIZE)
            if bias and self.heeds:
                token = max(range(SIZE), key=lambda token: (bias.get(token, 0.0), self._random.random()))
            elif self.text is not None:
                token = [*self.text, STOP][position]
            yield token
            if token == STOP:
                return


def vllm(model: Sampling) -> dict[str, Any]:
    def answer(body: dict[str, Any]) -> Iterator[str]:
        for token in model.tokens(body, body["max_tokens"]):
            yield sse({"choices": [{"index": 0, "text": "", "token_ids": [token]}]})

    return {"/v1/models": (200, {"data": [{"id": "toy", "max_model_len": 400}]}), "/v1/completions": answer}


def llama(model: Sampling) -> dict[str, Any]:
    def answer(body: dict[str, Any]) -> Iterator[str]:
        for count, token in enumerate(model.tokens(body, body["n_predict"]), 1):
            yield sse({"content": "a", "tokens": [token], "stop": False, "tokens_predicted": count})

    return {"/props": (200, {"default_generation_settings": {"n_ctx": 400}}), "/completion": answer}


def sglang(model: Sampling) -> dict[str, Any]:
    def answer(body: dict[str, Any]) -> Iterator[str]:
        asked = body["sampling_params"]
        seen = {"prompt": body["input_ids"], "logit_bias": asked["logit_bias"]}
        ids: list[int] = []
        for token in model.tokens(seen, asked["max_new_tokens"]):
            ids.append(token)
            about = {"completion_tokens": len(ids), "cached_tokens": 0, "finish_reason": None}
            yield sse({"text": "", "output_ids": ids, "meta_info": about})

    card = {"id": "toy", "owned_by": "sglang", "max_model_len": 400}
    return {"/v1/models": (200, {"data": [card]}), "/generate": answer}


SERVERS = pytest.mark.parametrize("server", [vllm, sglang, llama])


def run(answers: dict[str, Any], constraint: Constraint, **sampling: Any) -> list[GeneratedToken]:
    async def collect(engine: RemoteEngine) -> list[GeneratedToken]:
        generation = engine.generate([7], SamplingParams(**sampling), stop={STOP}, constraint=constraint)
        return [token async for token in generation]

    with serve(answers) as stub:
        engine = RemoteEngine(stub.url, vocab_size=SIZE)
        assert isinstance(engine, ConstrainedEngine)
        return asyncio.run(collect(engine))


def text(tokens: list[GeneratedToken]) -> str:
    return bytes(token.token for token in tokens if token.token < 256).decode()


@SERVERS
def test_noise_becomes_valid(server: Any, grammars: Grammars) -> None:
    """Whatever the server samples, the object is whole and ends by the right token."""
    for _ in range(3):
        tokens = run(server(Sampling()), Constraint(grammars, OBJECT))
        assert json.loads(text(tokens)).keys() == {"kind", "legs"}
        assert (tokens[-1].token, tokens[-1].finish_reason) == (STOP, "stop")


@SERVERS
def test_what_is_legal_streams_on(server: Any, grammars: Grammars) -> None:
    """A server that keeps to the grammar by itself is asked once."""
    model = Sampling(b'{"kind":"dog","legs":4}')
    assert text(run(server(model), Constraint(grammars, OBJECT))) == '{"kind":"dog","legs":4}'
    assert model.requests == 1


@SERVERS
def test_one_slip_is_corrected(server: Any, grammars: Grammars) -> None:
    """The rest is the server's own; what is forced costs no request."""
    model = Sampling(b'{"kind":"cow","legs":4}')
    assert text(run(server(model), Constraint(grammars, OBJECT))) == '{"kind":"cat","legs":4}'
    assert model.requests == 2
    model = Sampling(b'{"kind":"xog","legs":4}')
    assert text(run(server(model), Constraint(grammars, OBJECT))) in (
        '{"kind":"cat","legs":4}',
        '{"kind":"dog","legs":4}',
    )


def test_a_refused_grammar_is_sent_once(grammars: Grammars) -> None:
    """However often the server then slips in that generation; the next begins with the grammar."""
    model = Sampling()
    answers = llama(model)
    answer, refused = answers["/completion"], list[str]()

    def refuse(body: dict[str, Any]) -> Iterator[str] | tuple[int, str]:
        if "grammar" in body:
            refused.append(body["grammar"])
            return 400, "failed to parse grammar"
        return answer(body)  # type: ignore[no-any-return]

    for asked in (1, 2):
        before = model.requests
        found = run(answers | {"/completion": refuse}, Constraint(grammars, OBJECT))
        assert json.loads(text(found)).keys() == {"kind", "legs"}
        assert model.requests - before > 3
        assert len(refused) == asked


@SERVERS
def test_every_limit_ends_whole(server: Any, grammars: Grammars) -> None:
    """As in the local engine."""
    shortest = len('{"kind":"cat","legs":0}') + 1
    for limit in range(shortest, shortest + 8):
        tokens = run(server(Sampling()), Constraint(grammars, OBJECT), max_tokens=limit, seed=limit)
        assert len(tokens) <= limit
        assert json.loads(text(tokens))["kind"] in ("cat", "dog")
        assert (tokens[-1].finish_reason, tokens[-1].closed) in (("stop", False), ("length", True))


@SERVERS
def test_reasoning_is_interrupted(server: Any, grammars: Grammars) -> None:
    """After five tokens the end of the thought is forced, whatever the server says."""
    grammar = 'start: /[a-z]+/ "." ("yes" | "no") <|end|>'
    constraint = Constraint(grammars, grammar, interruption=Interruption(5, tuple(b".no")))
    assert text(run(server(Sampling(b"abcdefghijklmnop" * 30)), constraint)) == "abcde.no"


@SERVERS
def test_a_server_without_bias_is_an_error(server: Any, grammars: Grammars) -> None:
    """Never a token that may not come."""
    with pytest.raises(EngineError, match="logit_bias"):
        run(server(Sampling(b"x" * 40, heeds=False)), Constraint(grammars, OBJECT))


def test_a_grammar_that_cannot_be_enforced_is_refused(grammars: Grammars) -> None:
    """Before the server is asked for a token."""
    model = Sampling()
    with pytest.raises(GrammarError):
        run(vllm(model), Constraint(grammars, "start: nothing"))
    assert model.requests == 0
