"""The application: paths, the key, and what a refused request gets."""

from __future__ import annotations

import asyncio
import hmac
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harmony import TurnGrammar
from harmony.agent.enforcement import constrain, missing_packages
from harmony.errors import GrammarError, HarmonyError, RequestError
from harmony.formats import JsonSchema
from harmony.runtime.generation import keeps_to_grammars
from harmony.server.completions import complete
from harmony.server.schemas import openapi
from harmony.server.serving import Limits, Serving
from harmony.server.wire import EventStream, error_response, read_json, until_left

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from harmony.runtime.generation import TokenEngine
    from harmony.tools.tool import ServedTool

Json = dict[str, Any]

_OPEN: Final = {"/health", "/openapi.json"}


def create_app(
    engine: TokenEngine,
    *,
    tools: Sequence[ServedTool] = (),
    api_key: str | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """An ASGI application that serves `engine` with built-in `tools`, and closes them when it shuts down.

    Each request has tools of its own, copies of these: what runs in them ends with it, and the pages of a
    browser stay for the requests that go on with its conversation. With an `api_key`, every request but for
    /health must bear it. Raises ToolError when two tools have one name, and for what is no `ServedTool`.

    >>> uvicorn.run(create_app(load_engine("tiny"), tools=[Python(), Browser("docs/")]))
    """
    serving = Serving(engine, tools, limits or Limits())
    card = {
        "id": engine.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "gpt-oss-harmony",
        "max_model_len": engine.context_length,
        "keeps_turns": keeps_to_grammars(engine) and not missing_packages(),
    }
    document = openapi(needs_key=api_key is not None)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [card]})

    async def model(request: Request) -> Response:
        if request.path_params["model"] != engine.name:
            raise RequestError("there is no such model", status=404, code="model_not_found", param="model")
        return JSONResponse(card)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def described(request: Request) -> Response:
        return JSONResponse(document)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with suppress(GrammarError):  # begins what the first schema would wait for, where there can be one
            await asyncio.to_thread(constrain, engine, partial(TurnGrammar.of, response=JsonSchema({})))
        yield
        for tool in tools:
            await tool.aclose()
        await engine.aclose()

    app = Starlette(
        routes=[
            Route("/v1/responses", _Answers(serving, partial(serving.answer, "responses")), methods=["POST"]),
            Route(
                "/v1/chat/completions", _Answers(serving, partial(serving.answer, "chat")), methods=["POST"]
            ),
            Route(
                "/v1/completions",
                _Answers(serving, partial(complete, engine, serving.grammars)),
                methods=["POST"],
            ),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", model),
            Route("/health", health),
            Route("/openapi.json", described),
        ],
        exception_handlers={RequestError: _refused, HarmonyError: _unfit, HTTPException: _not_found},
        lifespan=lifespan,
    )
    if api_key is not None:
        app.add_middleware(_Key, api_key=api_key)
    return app


class _Answer(Protocol):
    """What is ready to be sent, whole or as a stream."""

    @property
    def streams(self) -> bool: ...

    async def whole(self) -> Response: ...

    def stream(self) -> AsyncGenerator[bytes]: ...


class _Answers:
    """Reads a request, waits for a seat, and answers."""

    def __init__(self, serving: Serving, answer: Callable[[Json], Awaitable[_Answer]]) -> None:
        self._serving = serving
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_json(scope, receive, self._serving.limits.body_bytes)
        except ClientDisconnect:  # before all of it had come
            return
        with self._serving.seat():
            answering = await self._answer(body)
            if answering.streams:
                response: ASGIApp = EventStream(answering.stream())
            else:
                response = await until_left(receive, answering.whole()) or Response(status_code=499)
            await response(scope, receive, send)


class _Key:
    """Lets in who bears the key."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                problem = "send the server's key as Authorization: Bearer KEY"
                app = error_response(RequestError(problem, status=401, code="invalid_api_key"))
        await app(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error)


async def _unfit(request: Request, error: Exception) -> Response:
    """What the format cannot express: a lone surrogate, a schema that is none."""
    return error_response(RequestError(str(error)))


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response: Any = error_response(RequestError(error.detail, status=error.status_code))
    response.headers.update(error.headers or {})
    return response if isinstance(response, Response) else Response()
