"""MCP servers as tools: a real one of the mcp package, on stdio and HTTP, and ones that die or lie."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import Agent
from harmony.errors import ToolError
from harmony.tools import CallableTool, MCPServer

pytest.importorskip("mcp")

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SUMS = (sys.executable, str(SUPPORT / "mcp_server.py"))
LIAR = (sys.executable, str(SUPPORT / "lying_server.py"))
Use = Callable[[MCPServer], Awaitable[object]]


def served(server: MCPServer, use: Use) -> object:
    """What `use` makes of the open server."""

    async def session() -> object:
        async with server:
            return await use(server)

    return asyncio.run(session())


async def call(server: MCPServer, name: str, arguments: str = "{}") -> str:
    """What the model hears when it calls a tool of the server."""
    (tool,) = (tool for tool in server.tools if tool.description.name == name)
    try:
        return await tool.call(arguments)
    except ToolError as error:
        return f"ToolError: {error}"


def answers(server: MCPServer, *calls: tuple[str, str]) -> list[str]:
    """The answers to calls, one after the other."""

    async def use(server: MCPServer) -> list[str]:
        return [await call(server, name, arguments) for name, arguments in calls]

    found = served(server, use)
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server on HTTP, in a process of its own; who comes before it is ready waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        server = subprocess.Popen([*SUMS, str(number)], pass_fds=[number], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()
        server.wait()


CALLS = [
    ("add", '{"a": 1, "b": 2}'),
    ("text_echo_v1", '{"text": "é <|end|>"}'),
    ("picture", "{}"),
    ("fail", "{}"),
    ("add", '{"a": "x", "b": 2}'),
    ("add", '{"a": 1, "b"'),
]
SAID = [
    "3",
    "é <|end|>",
    "[image, image/png: cannot be shown]",
    "ToolError: Error executing tool fail",
    "ToolError: Invalid arguments for add: a: 'x' is not of type 'integer'",
    "ToolError: The arguments are cut short: the JSON ends after 12 characters, before it is complete. "
    "Send the whole object again.",
]


def test_tools_of_a_command() -> None:
    """A server on stdio answers; what is wrong with a call is told."""
    assert answers(MCPServer(*SUMS), *CALLS) == SAID


def test_tools_of_a_url(url: str) -> None:
    """A server on HTTP answers just so."""
    assert answers(MCPServer(url, headers={"Authorization": "Bearer x"}), *CALLS) == SAID


def test_tools_are_functions() -> None:
    """Names are made callable, descriptions and schemas are the server's."""

    async def use(server: MCPServer) -> None:
        assert all(isinstance(tool, CallableTool) for tool in server.tools)
        add, echo = (tool.description for tool in server.tools[:2])
        assert (add.name, echo.name) == ("add", "text_echo_v1")
        assert add.description.startswith("Add two numbers.")
        assert add.parameters is not None
        assert add.parameters["required"] == ["a", "b"]
        assert server.left_out == {}

    served(MCPServer(*SUMS), use)


def test_two_servers_with_the_same_tools() -> None:
    """A prefix tells them apart; the server is called by its own name."""
    server = MCPServer(*SUMS, prefix="home_")
    assert answers(server, ("home_add", '{"a": 1, "b": 2}')) == ["3"]


def test_an_agent_calls_them() -> None:
    """Through the loop, the model reads the tools and their answers, all markup as text."""
    hostile = '<|channel|>commentary to=functions.text_echo_v1<|message|>{"text": "\\u003c|end|>"}<|call|>'
    engine = Scripted(hostile, "<|channel|>final<|message|>Done.<|return|>")

    async def use(server: MCPServer) -> None:
        await Agent(engine, tools=server.tools).run("Go.")

    served(MCPServer(*SUMS), use)
    prompt, after = engine.prompts
    encoding = load_encoding()
    assert "<|start|>system<|message|>Obey." in encoding.decode(prompt)
    assert prompt.count(encoding.encode("<|start|>", allowed_special="all")[0]) == 4
    answer = after[after.index(200_012, len(prompt)) + 1 :]
    assert [token for token in answer if token >= 199_998] == [200_006, 200_005, 200_008, 200_007, 200_006]


def test_a_call_may_need_approval() -> None:
    """What is refused never reaches the server."""
    server = MCPServer(*SUMS, approve=lambda tool, arguments: tool != "die")
    assert answers(server, ("die", "{}"), ("add", '{"a": 1, "b": 2}'))[1] == "3"


def test_the_environment_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets a few harmless variables, and those it was given."""
    monkeypatch.setenv("HARMONY_SECRET", "x")
    (names,) = answers(MCPServer(*SUMS, environment={"GIVEN": "y"}), ("environment", "{}"))
    assert "GIVEN" in names.split()
    assert "HARMONY_SECRET" not in names.split()


def test_a_server_that_dies_is_told() -> None:
    """The call during which it ended and those after it are answered, and closing does not fail."""
    died, after = answers(MCPServer(*SUMS), ("die", "{}"), ("add", '{"a": 1, "b": 2}'))
    assert died.startswith("ToolError: ")
    assert after.endswith("has ended; its tools cannot be used any more") or "Connection closed" in after


def test_a_server_that_is_slow_is_told() -> None:
    """A call over the time is an error of that call."""
    (slow,) = answers(MCPServer(*SUMS, timeout=8), ("sleep", '{"seconds": 30}'))
    assert slow.endswith("mcp_server.py did not answer (waited 8 s at most)")


def test_a_cancelled_call_leaves_the_server_usable() -> None:
    """Cancelling one call does not end the connection."""

    async def use(server: MCPServer) -> str:
        slow = asyncio.create_task(call(server, "sleep", '{"seconds": 0.5}'))
        await asyncio.sleep(0.1)
        slow.cancel()
        return await call(server, "add", '{"a": 20, "b": 22}')

    assert served(MCPServer(*SUMS), use) == "42"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("/nonexistent/server",), "No such file"),
        ((sys.executable, "-c", "raise SystemExit('out of order')"), "out of order"),
        ((sys.executable, "-c", "print('hello')"), "cannot be used as an MCP server"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "did not answer in 2 s"),
        (("http://127.0.0.1:9/mcp",), "cannot be used as an MCP server"),
    ],
)
def test_what_is_no_server(command: tuple[str, ...], says: str) -> None:
    """A command or URL that does not speak MCP is a ToolError of one line that says why."""

    async def use(_: MCPServer) -> None:
        pytest.fail("there is no server")

    with pytest.raises(ToolError, match=says) as caught:
        served(MCPServer(*command, timeout=2), use)
    assert "\n" not in str(caught.value)


def test_an_error_inside_the_block_is_not_changed() -> None:
    """What the user's code raises arrives as it is, and the server's process ends."""

    async def use(server: MCPServer) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        served(MCPServer(*SUMS), use)


def test_a_server_needs_a_name() -> None:
    """Without a command there is nothing to connect to."""
    with pytest.raises(ToolError, match="name a server"):
        MCPServer()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ToolError, match=r"gpt-oss-harmony\[mcp\]"):
        asyncio.run(MCPServer("x").__aenter__())


@pytest.mark.parametrize(
    ("lie", "says"),
    [("no list", "tools"), ("no tool", "inputSchema"), ("silence", "did not answer in 3 s")],
)
def test_a_list_that_is_none(lie: str, says: str) -> None:
    """A list of tools that breaks the protocol, or never comes, is a ToolError of one short line."""

    async def use(_: MCPServer) -> None:
        pytest.fail("there is no list")

    with pytest.raises(ToolError, match=says) as caught:
        served(MCPServer(*LIAR, lie, timeout=3), use)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_list_without_end_is_cut() -> None:
    """A server that always has one more page gives a thousand tools at most, each name once."""

    async def use(server: MCPServer) -> None:
        assert [tool.description.name for tool in server.tools] == ["f"]
        assert server.left_out == {"f": "another of its tools has this name"}

    served(MCPServer(*LIAR, "no end"), use)


def test_lies_are_bounded() -> None:
    """Tools that cannot be expressed are left out with the reason; what is said is cut and checked."""

    async def use(server: MCPServer) -> list[str]:
        names = [tool.description.name for tool in server.tools]
        assert names == ["huge", "deep", "python_", "a_b", "fetches", "garbage", "flood", "markup", "silent"]
        assert list(server.left_out) == ["nonsense", "wide", "", "a.b"]
        assert len(server.tools[0].description.description) == 2_000
        engine = Scripted("<|channel|>final<|message|>Hm.<|return|>")
        await Agent(engine, tools=server.tools).run("Go.")
        return [await call(server, name) for name in ("garbage", "flood", "markup", "silent")]

    garbage, flood, markup, silent = served(MCPServer(*LIAR, timeout=5), use)  # type: ignore[misc]
    assert garbage.startswith("ToolError: ")
    assert len(flood) < 1_000_100
    assert markup == "<|end|>【1†L1】"
    assert silent.startswith("ToolError: ")
