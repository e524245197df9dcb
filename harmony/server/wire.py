"""HTTP in and out: the body of a request as JSON, events as they come, errors in their official shape."""

from __future__ import annotations

import asyncio
import json
import math
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from harmony.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterable

    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

_DEEPEST: Final = 64
_UPLOAD_SECONDS: Final = 60
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_OF_EVENTS: Final = [
    (b"cache-control", b"no-cache"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
]


async def read_json(scope: Scope, receive: Receive, most_bytes: int) -> dict[str, Any]:
    """The JSON object in the body of a request. Raises RequestError, and ClientDisconnect before its end."""
    content_type = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0]
    if content_type.strip().lower() != b"application/json":
        raise RequestError("send the body as application/json", status=415)
    try:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            body = await _read(receive, most_bytes)
    except TimeoutError:
        raise RequestError(f"the body took longer than {_UPLOAD_SECONDS} s", status=408) from None
    try:
        value = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object")
    if _is_deep(value):
        raise RequestError(f"the body is nested deeper than {_DEEPEST} levels")
    if b"\\u" in body and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise RequestError("the body holds a lone surrogate, which is no character; remove it")
    return value


def error_body(
    message: str, status: int, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error in the shape that clients of OpenAI read."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: RequestError) -> Response:
    """The answer to a refused request."""
    body = error_body(str(error), error.status, error.code, error.param)
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, error.status, headers)


def sse(events: Iterable[dict[str, Any]], *, named: bool) -> bytes:
    """Server-sent events, with the names that their `type` gives them if they are `named`."""
    if named:
        return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), to_json(e)) for e in events)
    return b"".join(b"data: %s\n\n" % to_json(event) for event in events)


class EventStream:
    """Sends chunks as they are produced, and stops their production when the client leaves.

    What a slow reader has not taken is not produced yet: its tokens wait in the engine.
    """

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await until_left(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _OF_EVENTS})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def until_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives; it is cancelled when the client leaves, and gives None."""
    working = asyncio.current_task()
    assert working is not None
    watching = asyncio.create_task(_cancel_when_left(receive, working))
    try:
        return await work
    except asyncio.CancelledError:
        if not watching.done() or working.uncancel():  # somebody else cancels it
            raise
        return None
    finally:
        watching.cancel()


async def _cancel_when_left(receive: Receive, working: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    working.cancel()


async def _read(receive: Receive, most_bytes: int) -> bytearray:
    """The body of a request. Raises RequestError, and ClientDisconnect before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise RequestError(f"the body is longer than {most_bytes} bytes", status=413)
        if not message.get("more_body", False):
            return body


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            member
            for outer in level
            for member in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(member, dict | list)
        ]
        if not level:
            return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is too large a number")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
