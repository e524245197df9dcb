"""Connections to one server that are kept between requests, and end with the event loop they belong to.

Each borrower has a client of its own. One client for all would look through its connections at every request,
and for each that is idle at all of them again: at 200 that takes longer than the request (httpcore 1.0.9).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

from harmony.errors import EngineError

KEPT: Final = httpx.Limits(keepalive_expiry=4.0)
"""Servers close what was idle for 5 seconds."""


class Connections:
    """Clients that are lent for a request at a time; as many as there are requests at once.

    `new` makes one, with the limits `KEPT`.
    """

    def __init__(self, new: Callable[[], httpx.AsyncClient]) -> None:
        self._new = new
        self._idle: dict[asyncio.AbstractEventLoop, list[httpx.AsyncClient]] = {}
        self._all: dict[asyncio.AbstractEventLoop, list[httpx.AsyncClient]] = {}
        self._open: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client that was used last, or a new one. Raises EngineError when it is closed meanwhile."""
        loop = asyncio.get_running_loop()
        if loop not in self._idle:
            self._idle[loop], self._all[loop], self._open[loop] = [], [], self._until_closed(loop)
            await anext(self._open[loop])
        idle = self._idle[loop]
        client = idle.pop() if idle else self._another(loop)
        try:
            yield client
        except (httpx.HTTPError, RuntimeError) as error:
            if client.is_closed:
                raise EngineError("the engine was closed while it generated; ask again") from error
            raise
        finally:
            idle.append(client)

    async def aclose(self) -> None:
        """Close all clients of this event loop, the lent ones too; a later request opens new connections."""
        if (open_ := self._open.get(asyncio.get_running_loop())) is not None:
            await open_.aclose()

    async def _until_closed(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        """Waits to be closed, as every generator is at the end of its loop."""
        try:
            yield
        finally:
            del self._open[loop], self._idle[loop]
            for client in self._all.pop(loop):
                await client.aclose()

    def _another(self, loop: asyncio.AbstractEventLoop) -> httpx.AsyncClient:
        client = self._new()
        self._all[loop].append(client)

        async def refuse(response: httpx.Response) -> None:
            """What was connecting when the client was closed has a connection that it does not know."""
            if client.is_closed:
                raise httpx.ReadError("closed", request=response.request)

        client.event_hooks = {"response": [refuse]}
        return client
