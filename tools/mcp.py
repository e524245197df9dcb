"""The tools of an MCP server, as functions for an agent (extra: `mcp`).

    async with MCPServer("python", "server.py") as server, Agent(tools=server.tools) as agent:
        await agent.run("...")

The server is not trusted: what it says is text for the model, cut to bounds; arguments are checked against
its schemas here, before it sees them; a server that ends, hangs or breaks the protocol is a ToolError. The
connection lives in a task of its own, so that none of its failures cancels the caller. Not covered:
resources, prompts, and requests of the server to its client (sampling, elicitation, roots).
"""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from harmony.errors import ToolError
from harmony.tools.approval import Approve
from harmony.tools.functions import FunctionTool

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock
    from mcp.types import Tool as ServerTool

_PAGES, _TOOLS = 100, 1_000
_DESCRIPTION, _SCHEMA, _RESULT, _WHY = 2_000, 32_000, 1_000_000, 300  # in characters
_UNUSABLE = re.compile(r"[^a-zA-Z0-9_-]")


class MCPServer:
    """A server that is started as a command, or reached at a URL (streamable HTTP), for an `async with`.

    `headers` go with every request to a URL; `environment` is added to the few variables that a command
    gets. `timeout` is in seconds, for the start and for each call. `prefix` is put before the names of its
    tools, where two servers have the same. `approve` is asked before each call.

    Raises ToolError when the server cannot be reached or does not speak MCP.
    """

    def __init__(
        self,
        *command: str,
        headers: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        prefix: str = "",
        approve: Approve | None = None,
    ) -> None:
        if not command:
            raise ToolError('name a server: MCPServer("python", "server.py") or MCPServer("http://...")')
        self.name = " ".join(command)
        self.tools: list[FunctionTool[..., Any]] = []
        self.left_out: dict[str, str] = {}
        self._command = command
        self._headers = dict(headers or {})
        self._environment = dict(environment or {})
        self._timeout = timeout
        self._prefix = prefix
        self._approve = approve
        self._closing = asyncio.Event()
        self._connection: asyncio.Task[None] | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        """Connect and list the tools: `tools`, and in `left_out` why one cannot be offered."""
        try:
            import mcp  # noqa: F401
        except ImportError as error:
            raise ToolError("MCP needs the mcp package: pip install 'gpt-oss-harmony[mcp]'") from error
        self._closing.clear()
        listed: asyncio.Future[list[ServerTool]] = asyncio.get_running_loop().create_future()
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            self._connection = asyncio.create_task(self._connect(listed, errors))
            waited: set[asyncio.Future[Any]] = {listed, self._connection}
            try:
                await asyncio.wait(waited, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
                if not listed.done():
                    why = self._ending(errors)
                    raise ToolError(f"{self.name} cannot be used as an MCP server: {why}")
            finally:
                if not listed.done():
                    await self._disconnect()
        self._offer(listed.result())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._connection is not None:
            await asyncio.wait({self._connection}, timeout=self._timeout)
        await self._disconnect()

    async def _connect(self, listed: "asyncio.Future[list[ServerTool]]", errors: IO[str]) -> None:
        """Hold the connection until it is to close, or breaks."""
        async with self._opened(errors) as self._client:
            tools: list[ServerTool] = []
            cursor = None
            for _ in range(_PAGES):
                page = await self._client.list_tools(cursor=cursor)
                tools += page.tools
                if (cursor := page.next_cursor) is None or len(tools) >= _TOOLS:
                    break
            listed.set_result(tools[:_TOOLS])
            await self._closing.wait()

    @asynccontextmanager
    async def _opened(self, errors: IO[str]) -> "AsyncIterator[Client]":
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        if self._command[0].startswith(("http://", "https://")):
            async with (
                create_mcp_http_client(headers=self._headers) as http,
                Client(streamable_http_client(self._command[0], http_client=http)) as client,
            ):
                yield client
        else:
            started = StdioServerParameters(
                command=self._command[0], args=list(self._command[1:]), env=self._environment
            )
            transport = stdio_client(started, errlog=errors)  # type: ignore[arg-type]
            async with Client(transport) as client:
                yield client

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.cancel()
            await asyncio.wait({self._connection})
            with suppress(asyncio.CancelledError, Exception):  # how it ended was told to who called
                self._connection.result()

    def _ending(self, errors: IO[str]) -> str:
        """Why there is no connection: the innermost error, and the server's last words."""
        errors.seek(0)
        words = [line.strip() for line in errors if line.strip()]
        if self._connection is None or not self._connection.done():
            told = f"it did not answer in {self._timeout:g} s"
        else:
            error = self._connection.exception()
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            told = " ".join(str(error).split())[:_WHY] or type(error).__name__
        return f"{told} ({words[-1][:_WHY]})" if words else told

    def _offer(self, tools: "list[ServerTool]") -> None:
        """Make functions of the server's tools, but of those that the format cannot express."""
        self.tools, self.left_out = [], {}
        names: set[str] = set()
        for tool in tools:
            name = _UNUSABLE.sub("_", self._prefix + tool.name)[:64]
            try:
                if len(json.dumps(tool.input_schema)) > _SCHEMA:
                    raise ToolError(f"its schema is longer than {_SCHEMA} characters")
                made = FunctionTool.from_schema(
                    name,
                    (tool.description or "")[:_DESCRIPTION],
                    tool.input_schema,
                    partial(self._call, tool.name),
                    self._approve,
                )
                if made.description.name in names:
                    raise ToolError("another of its tools has this name")
            except ToolError as error:
                self.left_out[tool.name] = str(error)
                continue
            names.add(made.description.name)
            self.tools.append(made)

    async def _call(self, server_name: str, /, **arguments: object) -> str:
        """What the server answers; ToolError when it says that the call failed, or does not answer."""
        connection, client = self._connection, self._client
        if connection is None or client is None or connection.done():
            raise ToolError(f"The MCP server {self.name} has ended; its tools cannot be used any more")
        call = asyncio.ensure_future(client.call_tool(server_name, arguments))
        try:
            await asyncio.wait({call, connection}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                how = "ended during the call" if connection.done() else "did not answer"
                raise ToolError(f"The MCP server {self.name} {how} (waited {self._timeout:g} s at most)")
        finally:
            call.cancel()
        result = call.result()
        if result.is_error:
            raise ToolError(_text(result) or "the server says that the call failed, and not why")
        return _text(result)


def _text(result: "CallToolResult") -> str:
    """What a model can read of a result."""
    blocks = "\n".join(map(_shown, result.content))
    if not blocks and result.structured_content is not None:
        blocks = json.dumps(result.structured_content, ensure_ascii=False)
    return blocks if len(blocks) <= _RESULT else f"{blocks[:_RESULT]}\n[... cut ...]"


def _shown(block: "ContentBlock") -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource_link":
        return f"[resource {block.uri}]"
    if block.type == "resource":
        return getattr(block.resource, "text", f"[resource {block.resource.uri}, not text]")
    return f"[{block.type}, {block.mime_type}: cannot be shown]"
