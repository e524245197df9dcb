"""HTTP in and out: the body of a request as JSON, events as they come, errors in their official shape."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response, StreamingResponse

from harmony.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_DEEPEST: Final = 64
_UPLOAD_SECONDS: Final = 60
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


async def read_json(request: Request, most_bytes: int) -> dict[str, Any]:
    """The JSON object in the body. Raises RequestError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError("send the body as application/json", status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise RequestError(f"the body is longer than {most_bytes} bytes", status=413)
    except TimeoutError:
        raise RequestError(f"the body took longer than {_UPLOAD_SECONDS} s", status=408) from None
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
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


def sse(data: dict[str, Any], *, named: bool) -> bytes:
    """A server-sent event, with the name that its `type` gives it if it is `named`."""
    name = f"event: {data['type']}\n" if named else ""
    return b"%sdata: %s\n\n" % (name.encode(), to_json(data))


class EventStream(StreamingResponse):
    """Sends chunks as they come, and stops their production when the client leaves.

    They are produced whether or not the client reads, so that a slow reader holds up no engine.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__(chunks, headers={"Cache-Control": "no-cache"})
        self._source = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready, chunks = asyncio.Event(), list[bytes]()

        async def produce() -> None:
            try:
                async for chunk in self._source:
                    chunks.append(chunk)
                    ready.set()
            finally:
                await self._source.aclose()

        producing = asyncio.create_task(produce())
        leaving = asyncio.create_task(_left(receive))
        for task in (producing, leaving):
            task.add_done_callback(lambda _: ready.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while (chunks or not producing.done()) and not leaving.done():
                await ready.wait()
                ready.clear()
                body = b"".join(chunks)
                chunks.clear()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if producing.done():
                producing.result()
                await send({"type": "http.response.body", "body": b""})
        finally:
            await _end(producing, leaving)


async def unless_left(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """What `work` answers; it is cancelled when the client leaves."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=499)
    finally:
        await _end(working, leaving)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
