"""Our server on a local port, for real clients."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from harmony import ToolNamespaceConfig
from harmony.runtime.generation import TokenEngine
from harmony.server import create_app


class Calculator:
    """A python tool that knows one answer."""

    namespace = ToolNamespaceConfig.python()

    size = 0

    async def call(self, function: str | None, arguments: str) -> str:
        return "42"

    def copy(self) -> "Calculator":
        return self

    async def aclose(self) -> None:
        pass


def served(engine: TokenEngine, **options: Any) -> AbstractContextManager[str]:
    """The URL of a server of `engine`, without /v1; `options` are those of `create_app`."""
    return listening(create_app(engine, **options))


@contextmanager
def listening(app: Starlette, **options: Any) -> Iterator[str]:
    """The URL of an application; `options` are uvicorn's."""
    config = uvicorn.Config(app, port=0, log_level="error", ws="none", **options)
    server = uvicorn.Server(config)
    started = threading.Event()

    async def serve() -> None:
        sockets = [config.bind_socket()]
        sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvicorn's own have it
        server.port = sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve(sockets))
        while not server.started and not serving.done():
            await asyncio.sleep(0.001)
        started.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait(20)
    try:
        yield f"http://127.0.0.1:{server.port}"  # type: ignore[attr-defined]
    finally:
        server.should_exit = True
        thread.join()
