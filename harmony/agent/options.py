"""The options of `python -m harmony.agent`, and what they stand for."""

import argparse
import importlib
import shlex
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harmony.agent.output import Format
from harmony.agent.shell import SHELLS
from harmony.command_line import Parser, did_you_mean, positive, read_schema, seconds
from harmony.errors import UsageError
from harmony.runtime.generation import SamplingParams
from harmony.tools import browser
from harmony.tools.functions import function
from harmony.tools.mcp import MCPServer
from harmony.tools.python import BACKENDS, Python
from harmony.tools.tool import BuiltinTool, CallableTool, Tool

_EXAMPLES = """\
examples:
  python -m harmony.agent "What is 1234 * 5678?"       the bundled demonstration model
  python -m harmony.agent                              a chat with it
  python -m harmony.agent --model ./gpt-oss-20b "..."  a checkpoint in a folder
  python -m harmony.agent --model openai/gpt-oss-20b   a checkpoint from the Hugging Face hub
  python -m harmony.agent --model http://host:8000     a vLLM, SGLang or llama.cpp server, or ours
  python -m harmony.agent --tools python,mine:add      python, and the function `add` of mine.py
  python -m harmony.agent --tools browser "..."        answers from the documentation of this package
  python -m harmony.agent --tools browser --docs docs  answers from a folder of documents
  python -m harmony.agent --tools browser --search exa answers from the web
  python -m harmony.agent --file sales.csv --keep out  a file for python, and what python made of it
  python -m harmony.agent --mcp "uvx mcp-server-time"  the tools of an MCP server, a command or a URL
  python -m harmony.agent --doctor                     what confines python on this machine
  python -m harmony.agent --schema order.json "..."    an answer that is JSON for this schema
  python -m harmony.agent --session trip "..."         a conversation that is kept, and goes on later
  python -m harmony.agent --trace run.jsonl "..."      the run in a file, token for token
  python -m harmony.agent trace view run.jsonl         that run as a page, run.html
  python -m harmony.agent trace replay run.jsonl       that run again, without its model and tools
  echo "What is 2 + 2?" | python -m harmony.agent      the prompt from a pipe

A server's key is read from HARMONY_API_KEY; a search service's from EXA_API_KEY, YDC_API_KEY, TAVILY_API_KEY
or BRAVE_API_KEY, the address of a SearXNG from SEARXNG_URL.
Standard output carries the answer (with --json: one event a line); all else goes to standard error.
/help in a chat lists its commands. harmony-agent --completion bash prints what completes the options.
exit status: 0 answered, 1 ended by a limit, 2 an error, 130 interrupted, 141 nobody read the output."""


def add_engine_options(p: argparse.ArgumentParser, *, sequences: str) -> None:
    """What a model is loaded with; `sequences` says what those of `--max-sequences` are."""
    add = p.add_argument
    add(
        "--context",
        type=positive,
        metavar="N",
        help="the most tokens of prompt and answer (the model's own)",
    )
    add("--device", metavar="NAME", help="cpu or cuda (cuda where there is one)")
    add(
        "--embedding-on-host",
        action="store_true",
        help="leave the embedding table out of the GPU's memory: 1.08 GiB of gpt-oss",
    )
    add("--max-sequences", type=positive, metavar="N", help=f"{sequences} (128 on cuda, 16 on a CPU)")


def add_browser_options(p: argparse.ArgumentParser) -> None:
    """What `browser_of` reads."""
    add = p.add_argument
    add("--docs", metavar="FOLDER", help="what the browser reads (the documentation of this package)")
    add("--search", metavar="NAME", help="let it search the web: searxng, exa, you, tavily or brave")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser(
        prog="python -m harmony.agent",
        description="Ask a gpt-oss model that can run Python in a sandbox and call your functions.",
        epilog=_EXAMPLES,
    )
    add = p.add_argument
    add("prompt", nargs="?", metavar="PROMPT", help="what to ask; without it, a chat")
    add("--model", default="tiny", help="tiny (bundled), a folder, a hub name, or a server's URL")
    add_engine_options(p, sequences="generations that memory is set apart for")
    add("--reasoning", choices=("low", "medium", "high"), default="medium", help="reasoning effort (medium)")
    add(
        "--tools",
        default="python",
        metavar="LIST",
        help="python, browser, module:function, several with commas, or none",
    )
    add_browser_options(p)
    add("--mcp", action="append", default=[], metavar="SERVER", help="an MCP server's command or URL; again")
    add("--ask", action="store_true", help="ask before each call of a tool")
    add("--file", action="append", default=[], metavar="FILE", help="copy FILE to where python works; again")
    add("--keep", metavar="FOLDER", help="copy the files that python leaves to FOLDER")
    add("--sandbox", choices=BACKENDS, help="what confines python (the first that works)")
    add("--doctor", action="store_true", help="try what confines python on this machine, and leave")
    add(
        "--tool-choice",
        default="auto",
        metavar="CHOICE",
        help="auto, none, or what the first turn has to call: required, or the name of a tool",
    )
    answer = p.add_mutually_exclusive_group()
    answer.add_argument("--schema", metavar="FILE", help="a JSON schema that the answer has to follow")
    answer.add_argument(
        "--output-type", metavar="NAME", help="module:Class, a type that the answer has to be of"
    )
    add("--instructions", metavar="TEXT", help="what the developer message tells the model to do")
    add(
        "--show-reasoning",
        action="store_true",
        help="show the model's reasoning, dimmed; with --json its events, too",
    )
    add("--json", action="store_true", help="print every event as a line of JSON")
    add("--session", type=_name, metavar="NAME", help="go on with this saved conversation, or begin it")
    add("--trace", metavar="FILE", help="add the run to FILE, token for token; `trace view FILE` shows it")
    add(
        "--logprobs",
        type=int,
        metavar="N",
        help="record logprobs: of each sampled token, and of the N most likely",
    )
    add("--seed", type=int, help="the same seed and prompt give the same answer")
    add("--temperature", type=float, help="0 takes the most likely token (default: as the model asks)")
    add("--max-turns", type=positive, default=20, metavar="N", help="model turns in an answer (20)")
    add("--max-tokens", type=positive, metavar="N", help="sampled tokens in an answer")
    add("--timeout", type=seconds, metavar="SECONDS", help="wall-clock time for an answer")
    add("--completion", choices=SHELLS, help="print what completes harmony-agent in this shell, and leave")
    add("--version", action="version", version=_version())
    return p


def tools_of(options: argparse.Namespace) -> list[Tool]:
    """The tools that `--tools` names; a folder for the browser is indexed first.

    Raises UsageError, and ToolError for a folder, a service, a key or an extra that is not there.
    """
    return [_tool(name, options) for name in tool_names(options)]


def tool_names(options: argparse.Namespace) -> list[str]:
    """The names in `--tools`. Raises UsageError for options of the browser without it."""
    names = [name.strip() for name in options.tools.split(",") if name.strip()]
    if "browser" not in names and (options.docs or options.search):
        raise UsageError("--docs and --search are for the browser: add --tools browser")
    return [] if names == ["none"] else names


def browser_of(options: argparse.Namespace) -> "browser.Browser":
    """The browser over what `--docs` or `--search` names; a folder is indexed first.

    Raises UsageError, and ToolError for a folder, a service, a key or an extra that is not there.
    """
    return browser.Browser(_pages(options))


def python_of(options: argparse.Namespace) -> Python:
    """The python tool with the files and the sandbox of the options. Raises ToolError for what is no file."""
    return Python(options.sandbox, files=options.file, keep=options.keep)


def server_of(text: str) -> MCPServer:
    """The MCP server that `--mcp` names. Raises UsageError."""
    if text.startswith(("http://", "https://")):
        return MCPServer(text)
    try:
        return MCPServer(*shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--mcp {text}: {error}") from None


def sampling_of(options: argparse.Namespace, defaults: SamplingParams) -> SamplingParams:
    """The model's defaults with what the options change. Raises UsageError."""
    given = {"seed": options.seed, "temperature": options.temperature, "logprobs": options.logprobs}
    try:
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error).partition(":")[0]) from None


def output_of_options(options: argparse.Namespace) -> type[object] | Format | None:
    """What the answer has to be; None is any text. Raises UsageError."""
    if options.schema is not None:
        return read_schema(options.schema)
    if options.output_type is None:
        return None
    found = _imported("--output-type", options.output_type)
    if not isinstance(found, type):
        raise UsageError(f"--output-type {options.output_type}: it is not a class")
    return found


def _tool(name: str, options: argparse.Namespace) -> Tool:
    match name:
        case "python":
            return python_of(options)
        case "browser":
            return browser_of(options)
        case _:
            return _function(name)


def _pages(options: argparse.Namespace) -> "browser.Backend":
    """What the browser reads."""
    if options.docs and options.search:
        raise UsageError("--docs and --search exclude each other: the browser reads a folder or the web")
    if options.search:
        return browser.service(options.search)
    if not options.docs:
        return browser.bundled_docs()
    local, update = browser.indexed(options.docs)
    if not update.pages:
        raise UsageError(f"--docs {options.docs}: no html, md, txt, rst or pdf file in it can be read")
    if update.skipped:
        bad, command = len(update.skipped), f"python -m harmony.tools.browser index {options.docs}"
        print(f"{bad} of {bad + update.pages} files cannot be read; {command} names them", file=sys.stderr)
    return local


def _function(name: str) -> Tool:
    if ":" not in name:
        hint = did_you_mean(name, ("python", "browser", "none"))
        raise UsageError(f"there is no tool {name!r}: use python, browser, none, or module:function{hint}")
    found = _imported("--tools", name)
    if isinstance(found, BuiltinTool | CallableTool):
        return found
    if not callable(found):
        raise UsageError(f"--tools {name}: it is not a function")
    return function(found)


def _imported(option: str, name: str) -> Any:
    """What a name like module:attribute stands for; modules of the current folder come first."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UsageError(f"{option} {name}: use module:name")
    sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # its code runs here, and may do anything
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise UsageError(f"{option} {name}: there is no module {module}; use module:name") from None
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        hint = f"python -c 'import {module}' shows where"
        raise UsageError(f"{option} {name}: {module} cannot be imported ({reason}); {hint}") from None
    finally:
        sys.path.remove("")
    if not hasattr(found, attribute):
        hint = did_you_mean(attribute, dir(found))
        raise UsageError(f"{option} {name}: module {module!r} has no {attribute!r}{hint}")
    return getattr(found, attribute)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("give it a name, as in --session trip")
    return text.strip()


def _version() -> str:
    try:
        return version("gpt-oss-harmony")
    except PackageNotFoundError:
        return "a source checkout"
