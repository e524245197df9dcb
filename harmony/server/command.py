"""What `python -m harmony.server` does with its arguments: serve a model to clients of OpenAI."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from harmony.agent.loading import engine_of
from harmony.agent.options import add_browser_options, add_engine_options, browser_of, tool_names
from harmony.command_line import Parser, did_you_mean, positive
from harmony.errors import UsageError
from harmony.server.listening import Listening
from harmony.tools.python import Python
from harmony.tools.tool import ServedTool

_TOOLS: Final[Mapping[str, Callable[[argparse.Namespace], ServedTool]]] = {
    "python": lambda _: Python(),
    "browser": browser_of,
}
_EPILOG = """\
examples:
  python -m harmony.server                             the bundled demonstration model, on 127.0.0.1:8000
  python -m harmony.server --model ./gpt-oss-20b --tools python
  python -m harmony.server --tools browser --docs docs answers from a folder of documents, with citations

With HARMONY_SERVER_KEY in the environment, clients must send that key; HARMONY_API_KEY is the key for a
model that is itself on a server.
exit status: 0 stopped, 2 an error."""


def run(arguments: Sequence[str] | None) -> int:
    """Run the command until it is interrupted; the result is its exit status."""
    options = _parser().parse_args(arguments)
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise UsageError(f"the server needs {', '.join(missing)}: pip install 'gpt-oss-harmony[server]'")
    try:
        _serve(options)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> None:
    import uvicorn

    from harmony.server.app import create_app
    from harmony.server.serving import Limits

    api_key = os.environ.get("HARMONY_SERVER_KEY")
    with Listening(options.host, options.port) as listening:  # before the model: mistakes are told sooner
        if listening.reaches_others and not api_key:
            raise UsageError(f"on {options.host} others can reach the model; set HARMONY_SERVER_KEY to a key")
        tools = _tools(options)
        engine = engine_of(options)
        app = create_app(engine, tools=tools, api_key=api_key, limits=Limits(requests=options.queue))
        print(f"serving {engine.name} on {listening.url}", file=sys.stderr)
        config = uvicorn.Config(app, log_level="warning", access_log=False, limit_concurrency=1024)
        logging.raiseExceptions = False  # a line of the log that cannot be written ends no server
        gc.collect()
        gc.freeze()  # what is loaded stays; to walk it again and again would make every stream wait
        uvicorn.Server(config).run(sockets=listening.sockets)


def _tools(options: argparse.Namespace) -> list[ServedTool]:
    """The tools that `--tools` names. Raises UsageError, and ToolError for what the browser cannot read."""
    names = tool_names(options)
    for name in names:
        if name not in _TOOLS:
            hint = did_you_mean(name, (*_TOOLS, "none"))
            raise UsageError(f"there is no tool {name!r} to serve: use python, browser, or none{hint}")
    return [_TOOLS[name](options) for name in names]


def _parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m harmony.server",
        description="Serve a gpt-oss model: the Responses API and Chat Completions.",
        epilog=_EPILOG,
    )
    add = p.add_argument
    add("--model", default="tiny", help="tiny (bundled), a folder, a hub name, or a server's URL")
    add("--host", default="127.0.0.1", help="the address or name to listen on (127.0.0.1)")
    add("--port", type=int, default=8000, help="the port to listen on (8000); 0 takes a free one")
    add(
        "--tools",
        default="none",
        metavar="LIST",
        help="built-in tools that run here: python, browser, or both with a comma (none)",
    )
    add_browser_options(p)
    add_engine_options(p, sequences="requests that are decoded together")
    add(
        "--queue", type=positive, default=64, metavar="N", help="requests that run or wait; more get 429 (64)"
    )
    return p
