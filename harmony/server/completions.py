"""Tokens in, tokens out: the completions of vLLM, as far as an agent on another machine needs them.

A prompt is token ids, and so is what comes back; nothing here knows of conversations. `logit_bias` is taken
for one token, and by its ends: 100 for the only tokens that may come, -100 for those that may not. `turn`,
which is ours, keeps the completion to the grammar of one assistant turn.
Source: vLLM's `CompletionRequest` (`return_token_ids`, `return_tokens_as_token_ids`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from harmony import TurnGrammar, load_encoding
from harmony.agent.enforcement import constrain, generate
from harmony.call_ids import random_id
from harmony.errors import GrammarError, HarmonyError, RequestError
from harmony.runtime.generation import keeps_to_grammars
from harmony.server.requests import RequestSchema, check
from harmony.server.schemas import COMPLETION_REQUEST
from harmony.server.turns import turn_kept
from harmony.server.wire import error_body, sse
from harmony.utf8 import Utf8Stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.responses import Response

    from harmony.runtime.constraint import Constraint
    from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine
    from harmony.server.store import Bounded

Json = dict[str, Any]

_SCHEMA: Final = RequestSchema(COMPLETION_REQUEST)
_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "seed", "logprobs")
_DEFAULT_LENGTH: Final = 16  # as the API has it
_ONLY: Final = 100
_NEVER: Final = -100

_log = logging.getLogger("harmony.server")


async def complete(engine: TokenEngine, grammars: Bounded[TurnGrammar], body: Json) -> TokenCompletion:
    """A completion that is ready to run; `grammars` are those of earlier ones. Raises RequestError."""
    check(_SCHEMA, body, engine.name)
    body = {key: value for key, value in body.items() if value is not None}
    _check_prompt(engine, body["prompt"])
    given = {name: body[name] for name in _SAMPLING if name in body}
    sampling = replace(
        engine.default_sampling,
        **given | {"top_k": max(0, body.get("top_k", engine.default_sampling.top_k))},
        max_tokens=body.get("max_tokens", _DEFAULT_LENGTH),
    )
    constraint = await _constraint(engine, grammars, body)
    return TokenCompletion(engine, body, sampling, constraint)


class TokenCompletion:
    """One completion, whole or streamed a token at a time."""

    def __init__(
        self, engine: TokenEngine, body: Json, sampling: SamplingParams, constraint: Constraint | None
    ) -> None:
        self._engine = engine
        self._body = body
        self._sampling = sampling
        self._constraint = constraint
        self._stop = set(body.get("stop_token_ids", ()))
        if not body.get("ignore_eos"):
            self._stop.update(load_encoding().stop_tokens_for_assistant_actions())
        self._head = {
            "id": random_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": engine.name,
        }
        self._count = 0

    @property
    def streams(self) -> bool:
        """Whether it was asked for as events."""
        return self._body.get("stream") is True

    async def whole(self) -> Response:
        """All of it at once. Raises RequestError when the engine fails."""
        try:
            async with aclosing(self._tokens()) as generated:
                tokens = [token async for token in generated]
        except HarmonyError as error:
            raise RequestError(str(error), status=500, code="server_error") from error
        text = Utf8Stream()
        said = "".join(_text(text, token) for token in tokens) + text.flush()
        return JSONResponse({**self._head, "choices": [self._choice(tokens, said)], "usage": self._usage()})

    async def stream(self) -> AsyncGenerator[bytes]:
        """An event for each token; the first has the ids of the prompt too."""
        text = Utf8Stream()
        try:
            async with aclosing(self._tokens()) as tokens:
                async for token in tokens:
                    choice = self._choice([token], _text(text, token))
                    yield sse([{**self._head, "choices": [choice]}], named=False)
        except HarmonyError as error:
            _log.error("a completion failed: %s", error)
            yield sse([error_body(str(error), 500)], named=False)
        if (self._body.get("stream_options") or {}).get("include_usage") is True:
            yield sse([{**self._head, "choices": [], "usage": self._usage()}], named=False)
        yield b"data: [DONE]\n\n"

    async def _tokens(self) -> AsyncGenerator[GeneratedToken]:
        generated = generate(
            self._engine,
            self._body["prompt"],
            self._sampling,
            stop=self._stop,
            constraint=self._constraint,
        )
        async with aclosing(generated) as tokens:
            async for token in tokens:
                self._count += 1
                yield token

    def _choice(self, tokens: list[GeneratedToken], text: str) -> Json:
        last = tokens[-1]
        stopped = last.finish_reason is not None and last.token in self._stop and not last.closed
        has_ids = self._body.get("return_token_ids") is True
        return {
            "index": 0,
            "text": text,
            "logprobs": None if self._sampling.logprobs is None else _logprobs(tokens),
            "finish_reason": "stop" if stopped else last.finish_reason and "length",
            "stop_reason": last.token if stopped else None,
            "prompt_token_ids": self._body["prompt"] if has_ids and self._count == len(tokens) else None,
            "token_ids": [token.token for token in tokens] if has_ids else None,
            **({"closed": last.closed} if self._body.get("turn") is not None else {}),
        }

    def _usage(self) -> Json:
        prompt = len(self._body["prompt"])
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._count,
            "total_tokens": prompt + self._count,
        }


def _check_prompt(engine: TokenEngine, prompt: list[object]) -> None:
    """Here and not in the schema, which takes seconds for long ones."""
    size = engine.vocab_size if keeps_to_grammars(engine) else len(load_encoding().token_bytes)
    if not all(type(token) is int and 0 <= token < size for token in prompt):
        raise RequestError(f"prompt: must be token ids from 0 to {size - 1}", param="prompt")
    if len(prompt) >= engine.context_length:
        raise RequestError(
            f"the prompt has {len(prompt)} tokens and the context holds {engine.context_length}",
            code="context_length_exceeded",
            param="prompt",
        )


async def _constraint(engine: TokenEngine, grammars: Bounded[TurnGrammar], body: Json) -> Constraint | None:
    """What keeps the completion to its `turn`, or its one token to the `logit_bias`. Raises RequestError."""
    bias, turn = body.get("logit_bias"), body.get("turn")
    if bias and turn is not None:
        raise _refused("has no place beside a turn, which says what may come")
    if turn is not None:
        return await turn_kept(engine, turn, body["prompt"], grammars)
    return await asyncio.to_thread(_biased, engine, body, bias) if bias else None


def _biased(engine: TokenEngine, body: Json, bias: Json) -> Constraint:
    """What keeps the one token to its `logit_bias`. Raises RequestError for other biases."""
    if not all(token.isdecimal() for token in bias) or not {*bias.values()} <= {_ONLY, _NEVER}:
        raise _refused("must give token ids 100 (only these) or -100 (never these)")
    if body.get("max_tokens") != 1:
        raise _refused("is for one token: send max_tokens 1")
    only = [token for token, value in bias.items() if value == _ONLY]
    tokens = ",".join(only) if only else "^" + ",".join(bias)
    try:
        return constrain(engine, lambda: TurnGrammar(f"start: <[{tokens}]>", "", {})).ready()
    except GrammarError as error:
        raise _refused(f"cannot be heeded: {error}") from error


def _refused(problem: str) -> RequestError:
    return RequestError(f"logit_bias {problem}", code="unsupported_value", param="logit_bias")


def _text(stream: Utf8Stream, token: GeneratedToken) -> str:
    """What a token adds to the text."""
    return stream.feed(load_encoding().token_bytes[token.token])


def _logprobs(tokens: Sequence[GeneratedToken]) -> Json:
    """As vLLM writes them with `return_tokens_as_token_ids`; the sampled token is among the likely ones.

    One that was forced has none.
    """
    named = [f"token_id:{token.token}" for token in tokens]
    return {
        "text_offset": [],
        "tokens": named,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            None
            if token.logprob is None
            else {f"token_id:{rank.token}": rank.logprob for rank in token.top_logprobs}
            | {name: token.logprob}
            for name, token in zip(named, tokens, strict=True)
        ],
    }
