"""A TokenEngine on a server that takes token ids and gives token ids back."""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx

from harmony.errors import ContextLengthError, EngineError
from harmony.runtime.connections import KEPT, Connections
from harmony.runtime.dialects import Dialect, Json, LlamaCpp, ResumeError, Sglang, Vllm
from harmony.runtime.generation import FinishReason, GeneratedToken, SamplingParams

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint

_FAREWELL_SECONDS: Final = 1.0
_UNREAD: Final = (400, 413)  # the statuses of a request that is not understood, or too long
_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What reading an answer raises that has another form than its protocol says."""
_UNBIASED: Final[Mapping[int, float]] = {}


class _RefusedError(EngineError):
    """The server does not understand the request."""


@dataclass
class _Told:
    """The constraint that the server is told of in one generation, until it refuses it."""

    constraint: "Constraint | None"


_UNTOLD: Final = _Told(None)


class RemoteEngine:
    """Generates on a server of vLLM (0.10.2 or later), SGLang or llama.cpp, or on one of ours.

    `url` is the server's root, with or without /v1; `model` chooses among several that one serves;
    `api_key` is sent as a bearer token; `context_length` None asks the server. `timeout` is the longest
    silence in seconds, the reading of a long prompt included; `vocab_size` is that of gpt-oss, the ids that
    logits have. Generations of one event loop share its connections, which end with the loop. A request
    is sent again only when its connection broke before the answer began, and once. The constructor asks
    the server what it is, and raises EngineError when it cannot be reached or is none of them.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        context_length: int | None = None,
        timeout: float = 300.0,
        vocab_size: int = 201_088,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._vocab_size = vocab_size
        self._timeout = httpx.Timeout(timeout, connect=min(timeout, 10.0))
        self._tls = httpx.create_ssl_context()  # once, since it reads all certificates: 30 ms
        self._connections = Connections(self._client)
        self._dialect = self._detect(model)
        length = context_length or self._dialect.context_length
        if type(length) is not int or length < 1:
            raise EngineError(f"{self._url} does not say how long its context is; pass context_length")
        self.name = self._dialect.name
        self.context_length = length
        self.default_sampling = SamplingParams()

    @property
    def vocab_size(self) -> int:
        """The number of ids that the model's logits have."""
        return self._vocab_size

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: "Constraint | None" = None,
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield tokens until one of `stop` was sampled (it is yielded too) or a limit is reached.

        A `constraint` is kept from here: a token that may not come ends the request, and another is asked
        for. It seldom does where the server is told of the constraint and keeps to it too. Closing the
        generator closes the connection, upon which the server stops. Raises ContextLengthError before
        anything is sent when the prompt leaves no room, EngineError when the server is not reachable,
        refuses, gives no token ids or breaks off; GrammarError and ConstraintError with a constraint.
        """
        room = self.context_length - len(prompt)
        if room < 1:
            raise ContextLengthError(
                f"the prompt has {len(prompt)} tokens and {self._url} holds {self.context_length}; shorten "
                "the conversation or serve the model with a longer context"
            )
        limit = min(room, sampling.max_tokens or room)
        generation = self._stream(prompt, replace(sampling, max_tokens=limit), stop)
        if constraint is not None:
            from harmony.runtime.corrected import Corrected

            told = _Told(constraint)

            def stream(
                prompt: Sequence[int], sampling: SamplingParams, bias: Mapping[int, float]
            ) -> AsyncGenerator[GeneratedToken]:
                return self._stream(prompt, sampling, stop, bias, _UNTOLD if bias else told)

            generation = Corrected(stream, prompt, sampling, limit, constraint).tokens()
        async with aclosing(generation) as tokens:
            async for token in tokens:
                if token.token in stop and token.finish_reason is None:
                    yield replace(token, finish_reason="stop")
                    return
                yield token

    async def _stream(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        bias: Mapping[int, float] = _UNBIASED,
        told: _Told = _UNTOLD,
    ) -> AsyncGenerator[GeneratedToken]:
        """The tokens of one generation, which has a limit; most take one request.

        The server is told of a constraint, which the caller moves along, unless it refuses that.
        """
        limit = sampling.max_tokens or 1
        written: list[int] = []
        whole = 0  # tokens that no stream can express
        while True:
            seed = None if sampling.seed is None else sampling.seed + len(written)
            asked = replace(sampling, max_tokens=whole or limit - len(written), seed=seed)
            count = asked.max_tokens or 1
            constraint = told.constraint
            asking = partial(self._dialect.body, [*prompt, *written], asked, stop, count, bias, constraint)
            body = asking() if constraint is None else await asyncio.to_thread(asking)
            request = self._request({**body, "stream": not whole}, asked, stop)
            try:
                async with aclosing(request):
                    async for token in request:
                        written.append(token.token)
                        is_last = token.finish_reason == "stop" or len(written) == limit
                        yield (
                            token
                            if is_last or not token.finish_reason
                            else replace(token, finish_reason=None)
                        )
                        if is_last:
                            return
                whole = 0
            except ResumeError as error:
                whole = error.count
            except _RefusedError:
                if constraint is None:
                    raise
                told.constraint = None

    async def _request(
        self, body: Json, sampling: SamplingParams, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        """The tokens of one request. Raises ResumeError where another has to go on."""
        limit = sampling.max_tokens or 1
        received = 0
        try:
            async with (
                self._connections.borrow() as client,
                aclosing(_events(client, self._dialect.path, body)) as events,
            ):
                async for event in events:
                    for token in await self._tokens(client, event, received):
                        received += 1
                        reason: FinishReason | None = None
                        if token.token in stop:
                            reason = "stop"
                        elif received == limit:
                            reason = "length"
                        if reason == "length" or (reason and self._dialect.ends_at_stop):
                            await _hear_out(events)
                        yield _told(token, sampling, reason)
                        if reason is not None:
                            return
        except httpx.HTTPError as error:
            raise self._failed(error) from error
        if body["stream"]:
            raise EngineError(
                f"{self._url} broke off after {received} tokens, before a stop token or the limit of "
                f"{limit}; look at the server's log and ask again"
            )

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later generation opens new ones."""
        await self._connections.aclose()

    def _detect(self, model: str | None) -> Dialect:
        try:
            with httpx.Client(
                base_url=self._url, headers=self._headers, timeout=self._timeout, verify=self._tls
            ) as client:
                props = client.get("/props")
                if props.is_success and "default_generation_settings" in _object(props):
                    return LlamaCpp.of(_object(props))
                models = client.get("/v1/models")
                if models.is_success and "data" in _object(models):
                    listed = _object(models)
                    return Sglang.of(listed, model) or Vllm.of(listed, model)
        except httpx.HTTPError as error:
            raise self._failed(error) from error
        except _MALFORMED as error:
            raise EngineError(
                f"{self._url} tells of its model in an unknown form ({error!r:.200}); check the address"
            ) from error
        raise EngineError(
            f"{self._url} answers neither /props as llama.cpp does (HTTP {props.status_code}) nor /v1/models "
            f"as vLLM and SGLang do (HTTP {models.status_code}); check the address and the api_key"
        )

    async def _tokens(self, client: httpx.AsyncClient, event: Json, received: int) -> list[GeneratedToken]:
        async def ask(path: str, body: Json) -> Json:
            response = await client.post(path, json=body)
            await _raise_for_status(response)
            return _object(response)

        try:
            tokens = await self._dialect.tokens(event, received, ask)
        except _MALFORMED as error:
            raise EngineError(
                f"{self._url} sent an event of an unknown form ({error!r:.200}); update the server"
            ) from error
        for token in tokens:
            self._check(token)
        return tokens

    def _check(self, token: GeneratedToken) -> None:
        """Raise EngineError for what a server calls a token and is none."""
        if type(token.token) is not int or not 0 <= token.token < self._vocab_size:
            raise EngineError(
                f"{self._url} gave {token.token!r:.40} for a token id, which are integers below "
                f"{self._vocab_size}; check that it serves gpt-oss"
            )
        if type(token.cached_tokens) is not int:
            raise EngineError(
                f"{self._url} says that {token.cached_tokens!r:.40} tokens were cached; update the server"
            )

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._tls,
            limits=KEPT,
        )

    def _failed(self, error: httpx.HTTPError) -> EngineError:
        reason = str(error) or type(error).__name__
        return EngineError(f"{self._url} failed ({reason}); check that the server runs at this address")


async def _events(client: httpx.AsyncClient, path: str, body: Json) -> AsyncGenerator[Json]:
    """The JSON objects of a stream of server-sent events, or the one that is not streamed."""
    async with aclosing(await _answer(client, path, body)) as response:
        await _raise_for_status(response)
        if not body["stream"]:
            yield _event((await response.aread()).decode("utf-8", "replace"))
            return
        async for line in response.aiter_lines():
            kind, _, data = line.partition(":")
            if kind in ("data", "error") and data.strip() not in ("", "[DONE]"):
                yield _event(data)


async def _answer(client: httpx.AsyncClient, path: str, body: Json) -> httpx.Response:
    """The beginning of an answer. A kept connection may be closed by the server as the request comes."""
    request = client.build_request("POST", path, json=body)
    try:
        return await client.send(request, stream=True)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        return await client.send(request, stream=True)


async def _hear_out(events: AsyncGenerator[Json]) -> None:
    """Read what a server says after the last token, so that its connection can be used again.

    That is one event at most, and it changes nothing; a server that goes on loses its connection.
    """
    with suppress(TimeoutError, httpx.HTTPError, EngineError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await anext(events, None)
            await anext(events, None)


def _event(data: str) -> Json:
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "error" in event or "message" in event:
        raise EngineError(f"the server failed while it generated: {_message(data)}; see its log")
    return event


async def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    text = (await response.aread()).decode("utf-8", "replace")
    refused = _RefusedError if response.status_code in _UNREAD else EngineError
    raise refused(f"{response.url} refused (HTTP {response.status_code}): {_message(text)}")


def _message(text: str) -> str:
    """The server's own words, on one line: OpenAI's {"error": {"message": ...}} or what there is."""
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    while isinstance(said, dict) and ("error" in said or "message" in said):
        said = said.get("error", said.get("message"))
    return " ".join(str(said).split())[:500]


def _object(response: httpx.Response) -> Json:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _told(token: GeneratedToken, sampling: SamplingParams, reason: FinishReason | None) -> GeneratedToken:
    """A token with as many of the most likely as were asked for; servers count the sampled one as one."""
    most = sampling.logprobs or 0
    if reason is None and len(token.top_logprobs) <= most:
        return token
    return replace(token, finish_reason=reason, top_logprobs=token.top_logprobs[:most])
