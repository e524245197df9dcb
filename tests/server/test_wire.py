"""Bodies that come in pieces or not to their end, and work that ends when the client leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from harmony.errors import RequestError
from harmony.server.wire import read_json, until_left

JSON = {"headers": [(b"content-type", b"Application/JSON; charset=utf-8")]}
LEFT = {"type": "http.disconnect"}


def receiving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """What an ASGI server hands on; after the last message there is nothing more."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else await asyncio.Future()

    return receive


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_comes_in_pieces() -> None:
    receive = receiving(piece(b'{"a":', more=True), piece(b" 1}", more=False))
    assert asyncio.run(read_json(JSON, receive, 8)) == {"a": 1}


def test_a_client_leaves_before_the_end_of_its_body() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_json(JSON, receiving(piece(b'{"a":', more=True), LEFT), 100))


def test_pieces_are_too_long_together() -> None:
    receive = receiving(piece(b'{"a":', more=True), piece(b" 10}", more=True))
    with pytest.raises(RequestError, match="longer than 8 bytes"):
        asyncio.run(read_json(JSON, receive, 8))


async def forever(ended: list[bool]) -> str:
    try:
        return await asyncio.Future()
    finally:
        ended.append(True)


def test_work_ends_when_the_client_leaves() -> None:
    """And the task that it was done in goes on."""

    async def serve() -> tuple[str | None, int]:
        given = await until_left(receiving(LEFT), forever(ended))
        await asyncio.sleep(0)
        return given, asyncio.current_task().cancelling()  # type: ignore[union-attr]

    ended: list[bool] = []
    assert asyncio.run(serve()) == (None, 0)
    assert ended == [True]


def test_who_cancels_from_outside_is_obeyed() -> None:
    async def serve() -> None:
        working = asyncio.create_task(until_left(receiving(), forever(ended)))
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    ended: list[bool] = []
    asyncio.run(serve())
    assert ended == [True]


def test_a_client_that_leaves_with_the_answer_cancels_nothing() -> None:
    async def serve() -> str | None:
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await over.wait()
            return LEFT

        async def work() -> str:
            await asyncio.sleep(0)
            over.set()
            return "done"

        given = await until_left(receive, work())
        await asyncio.sleep(0.01)
        return given

    assert asyncio.run(serve()) == "done"
