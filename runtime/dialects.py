"""How servers take token ids and give token ids back: the protocols of vLLM, SGLang and llama.cpp.

Read from vLLM's `CompletionRequest` (`return_token_ids` came with vLLM 0.10.2), from SGLang's
docs/basic_usage/sampling_params.md and its `TokenizerManager`, and from the README and source of llama.cpp's
server (tools/server). All stop exactly where a TokenEngine must: vLLM and SGLang are told to ignore the
model's own end tokens, and the caller ends the stream at a stop token or at the limit by itself. Our own
server speaks as vLLM does.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from harmony.errors import EngineError
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenLogprob

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint

_BUILD: Final = re.compile(r"b([1-9]\d*)\b")  # b0 is none that is known
_KNOWS_TOKENS: Final = 7700
"""The build of llama.cpp, of January 2026, before which no grammar is sent; #17816 taught them tokens."""

_ENDS: Final = ("<|return|>", "<|call|>", "<|endoftext|>")
"""Where llama.cpp ends a generation of this vocabulary; see `special_eog_ids` in src/llama-vocab.cpp."""

Json = Mapping[str, Any]
Ask = Callable[[str, Json], Awaitable[Json]]


class ResumeError(Exception):
    """A stream cannot go on: its next `count` tokens have to be asked for as a whole, 0 for as a stream."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class Dialect(Protocol):
    """A server's protocol, with the model that it serves."""

    @property
    def name(self) -> str: ...

    @property
    def context_length(self) -> int | None: ...

    @property
    def path(self) -> str: ...

    @property
    def ends_at_stop(self) -> bool:
        """Whether the server ends its answer after a stop token; else it is left."""

    def body(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        limit: int,
        bias: Mapping[int, float],
        constraint: "Constraint | None" = None,
    ) -> Json:
        """The JSON that asks for at most `limit` tokens, streamed; `bias` is added to logits by token.

        What comes is checked against a `constraint` by the caller; of it, the server is told what it can
        keep to.
        """

    async def tokens(self, event: Json, received: int, ask: Ask) -> list[GeneratedToken]:
        """The new tokens of one event, after `received` earlier ones; `ask` posts to another path.

        Raises ResumeError where the server has to be asked again, from after those tokens.
        """


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM's OpenAI-compatible /v1/completions; a server of ours `keeps_turns` that it is told of."""

    name: str
    context_length: int | None
    keeps_turns: bool = False
    path: str = "/v1/completions"
    ends_at_stop: bool = True

    @classmethod
    def of(cls, models: Json, wanted: str | None) -> "Vllm":
        """The wanted model, or the first, of what /v1/models lists."""
        card, name, context_length = _listed(models, wanted)
        return cls(name, context_length, card.get("keeps_turns") is True)

    def body(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        limit: int,
        bias: Mapping[int, float],
        constraint: "Constraint | None" = None,
    ) -> Json:
        told: Json = {}
        if self.keeps_turns and constraint is not None and constraint.stated is not None:
            told = {"turn": {**constraint.stated, "written": len(constraint.tokens)}}
        return {
            "model": self.name,
            "prompt": list(prompt),
            "max_tokens": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "seed": sampling.seed,
            "logprobs": sampling.logprobs,
            "logit_bias": {str(token): value for token, value in bias.items()} or None,
            "stop_token_ids": sorted(stop),
            "ignore_eos": True,
            "repetition_penalty": 1.0,
            "skip_special_tokens": False,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stream": True,
            **told,
        }

    async def tokens(self, event: Json, received: int, ask: Ask) -> list[GeneratedToken]:
        for choice in event["choices"]:
            ids = choice.get("token_ids")
            if ids is None:
                raise EngineError("the server gives no token ids back; use vLLM 0.10.2 or later")
            probabilities, closed = choice.get("logprobs"), choice.get("closed") is True
            if probabilities is None:
                return [GeneratedToken(token, closed=closed) for token in ids]
            return [
                GeneratedToken(token, logprob=logprob, top_logprobs=_ranked(top or {}), closed=closed)
                for token, logprob, top in zip(
                    ids, probabilities["token_logprobs"], probabilities["top_logprobs"], strict=True
                )
            ]
        return []


@dataclass(frozen=True, slots=True)
class Sglang:
    """SGLang's own /generate."""

    name: str
    context_length: int | None
    path: str = "/generate"
    ends_at_stop: bool = False

    @classmethod
    def of(cls, models: Json, wanted: str | None) -> "Sglang | None":
        """The wanted model, or the first, of what /v1/models lists, if it is SGLang that lists it."""
        is_sglang = any(card.get("owned_by") == "sglang" for card in models["data"])
        return cls(*_listed(models, wanted)[1:]) if is_sglang else None

    def body(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        limit: int,
        bias: Mapping[int, float],
        constraint: "Constraint | None" = None,
    ) -> Json:
        """Without stop ids, which SGLang ignores along with its end tokens."""
        return {
            "input_ids": list(prompt),
            "sampling_params": {
                "max_new_tokens": limit,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k or -1,
                "min_p": sampling.min_p,
                "sampling_seed": sampling.seed,
                "logit_bias": {str(token): value for token, value in bias.items()} or None,
                "ignore_eos": True,
                "repetition_penalty": 1.0,
                "skip_special_tokens": False,
            },
            "return_logprob": sampling.logprobs is not None,
            "top_logprobs_num": sampling.logprobs or 0,
            "stream": True,
        }

    async def tokens(self, event: Json, received: int, ask: Ask) -> list[GeneratedToken]:
        """Events bring all ids until now, or with --incremental-streaming-output those since the last."""
        ids, about = event.get("output_ids"), event["meta_info"]
        if ids is None:
            raise EngineError("the server gives no token ids back; use an SGLang that streams output_ids")
        reason = about["finish_reason"] or {}
        if reason.get("type") == "abort":
            raise EngineError(f"SGLang gave the request up: {reason.get('message')}; see its log")
        new = about["completion_tokens"] - received
        if new > len(ids):
            raise EngineError("SGLang left out tokens of its stream; ask again")
        cached = about["cached_tokens"]
        if new == 0 or "output_token_logprobs" not in about:
            return [GeneratedToken(token, cached_tokens=cached) for token in ids[len(ids) - new :]]
        scored = about["output_token_logprobs"][-new:]
        tops = (about.get("output_top_logprobs") or [()] * new)[-new:]
        return [
            GeneratedToken(
                token,
                logprob=logprob,
                top_logprobs=tuple(TokenLogprob(rank[1], rank[0]) for rank in top or ()),
                cached_tokens=cached,
            )
            for (logprob, token, *_), top in zip(scored, tops, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp's own /completion, which `takes_grammars` that name tokens if it is not too old."""

    name: str
    context_length: int | None
    takes_grammars: bool = True
    path: str = "/completion"
    ends_at_stop: bool = True

    @classmethod
    def of(cls, props: Json) -> "LlamaCpp":
        """The model that /props describes; `n_ctx` is the context of one slot."""
        name = str(props.get("model_alias") or props.get("model_path") or "llama.cpp")
        build = _BUILD.match(str(props.get("build_info")))
        is_new = build is None or int(build[1]) >= _KNOWS_TOKENS
        return cls(name.rpartition("/")[2], props["default_generation_settings"].get("n_ctx"), is_new)

    def body(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        limit: int,
        bias: Mapping[int, float],
        constraint: "Constraint | None" = None,
    ) -> Json:
        told: Json = {}
        if self.takes_grammars and constraint is not None:
            from harmony.runtime.gbnf import gbnf

            special = constraint.table.special
            told = {"grammar": gbnf(constraint, [special[name] for name in _ENDS if name in special])}
        return {
            "prompt": list(prompt),
            "n_predict": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repeat_penalty": 1.0,
            "samplers": ["temperature", "top_k", "top_p", "min_p"],
            "logit_bias": [[token, value] for token, value in bias.items()],
            "seed": -1 if sampling.seed is None else sampling.seed,
            "n_probs": 0 if sampling.logprobs is None else max(1, sampling.logprobs),
            "cache_prompt": True,
            "timings_per_token": True,
            "return_tokens": True,
            "stream": True,
            **{name: value for name, value in told.items() if value is not None},
        }

    async def tokens(self, event: Json, received: int, ask: Ask) -> list[GeneratedToken]:
        """No event tells of a token that ends inside a character; that of the whole one has its last id."""
        ids, missing = list(event.get("tokens", ())), event["tokens_predicted"] - received
        if not ids and event["stop"]:
            raise ResumeError(missing)
        if not ids:
            raise EngineError("the server gives no token ids back; use a llama.cpp that knows return_tokens")
        cached = event.get("timings", {}).get("cache_n", 0)
        scored = [_scored(entry, cached) for entry in event.get("completion_probabilities", [])]
        known = scored or [GeneratedToken(token, cached_tokens=cached) for token in ids]
        if missing == len(ids) or event["content"].isascii():
            return known
        pieces = await self._pieces(event["content"], ask)
        if pieces != ids and (len(pieces) != missing or pieces[-len(ids) :] != ids):
            raise ResumeError(missing)
        return [GeneratedToken(token, cached_tokens=cached) for token in pieces[: -len(ids)]] + known

    async def _pieces(self, text: str, ask: Ask) -> list[int]:
        """The tokens of a text, none of one that is broken; they are taken for those that were sampled."""
        if "\ufffd" in text:
            return []
        answer = await ask("/tokenize", {"content": text, "add_special": False, "parse_special": False})
        return list(answer["tokens"])


def _listed(models: Json, wanted: str | None) -> tuple[Json, str, int | None]:
    """What is listed of the wanted model, or the first; its name, and how long its context is."""
    served: dict[str, Json] = {str(card["id"]): card for card in models["data"]}
    if not served or (wanted is not None and wanted not in served):
        raise EngineError(f"the server has no model {wanted!r}; it serves {', '.join(served) or 'none'}")
    name = wanted or next(iter(served))
    return served[name], name, served[name].get("max_model_len")


def _ranked(top: Mapping[str, float]) -> tuple[TokenLogprob, ...]:
    """vLLM's {"token_id:5": -0.1, ...}, the most likely first."""
    pairs = sorted(top.items(), key=lambda pair: -pair[1])
    return tuple(TokenLogprob(int(token.removeprefix("token_id:")), logprob) for token, logprob in pairs)


def _scored(entry: Json, cached: int) -> GeneratedToken:
    top = tuple(TokenLogprob(rank["id"], rank["logprob"]) for rank in entry["top_logprobs"])
    return GeneratedToken(entry["id"], logprob=entry["logprob"], top_logprobs=top, cached_tokens=cached)
