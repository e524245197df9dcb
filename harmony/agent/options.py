"""The options of `python -m harmony.agent`, and what they stand for."""

import argparse
import importlib
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from harmony.errors import UsageError
from harmony.runtime.generation import SamplingParams
from harmony.tools import browser
from harmony.tools.functions import function
from harmony.tools.python import Python
from harmony.tools.tool import BuiltinTool, CallableTool, Tool

_EXAMPLES = """\
examples:
  python -m harmony.agent "What is 1234 * 5678?"       the bundled demonstration model
  python -m harmony.agent                              a chat with it
  python -m harmony.agent --model ./gpt-oss-20b "..."  a checkpoint in a folder
  python -m harmony.agent --model openai/gpt-oss-20b   a checkpoint from the Hugging Face hub
  python -m harmony.agent --model http://host:8000     a vLLM or llama.cpp server
  python -m harmony.agent --tools python,mine:add      python, and the function `add` of mine.py
  python -m harmony.agent --tools browser "..."        answers from the documentation of this package
  python -m harmony.agent --tools browser --docs docs  answers from a folder of documents
  python -m harmony.agent --tools browser --search exa answers from the web
  echo "What is 2 + 2?" | python -m harmony.agent      the prompt from a pipe

A server's key is read from HARMONY_API_KEY; a search service's from EXA_API_KEY, YDC_API_KEY, TAVILY_API_KEY
or BRAVE_API_KEY, the address of a SearXNG from SEARXNG_URL.
Standard output carries the answer (with --json: one event a line); all else goes to standard error.
exit status: 0 answered, 1 ended by a limit without an answer, 2 an error, 130 interrupted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = _Parser(
        prog="python -m harmony.agent",
        description="Ask a gpt-oss model that can run Python in a sandbox and call your functions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = p.add_argument
    add("prompt", nargs="?", metavar="PROMPT", help="what to ask; without it, a chat")
    add("--model", default="tiny", help="tiny (bundled), a folder, a hub name, or a server's URL")
    add(
        "--context",
        type=_positive,
        metavar="N",
        help="the most tokens of prompt and answer (the model's own)",
    )
    add("--device", metavar="NAME", help="cpu or cuda (cuda where there is one)")
    add("--reasoning", choices=("low", "medium", "high"), default="medium", help="reasoning effort (medium)")
    add(
        "--tools",
        default="python",
        metavar="LIST",
        help="python, browser, module:function, several with commas, or none",
    )
    add("--docs", metavar="FOLDER", help="what the browser reads (the documentation of this package)")
    add("--search", metavar="NAME", help="let it search the web: searxng, exa, you, tavily or brave")
    add("--instructions", metavar="TEXT", help="what the developer message tells the model to do")
    add("--show-reasoning", action="store_true", help="show the model's reasoning, dimmed")
    add("--json", action="store_true", help="print every event as a line of JSON")
    add("--seed", type=int, help="the same seed and prompt give the same answer")
    add("--temperature", type=float, help="0 takes the most likely token (default: as the model asks)")
    add("--max-turns", type=_positive, default=20, metavar="N", help="model turns in an answer (20)")
    add("--max-tokens", type=_positive, metavar="N", help="sampled tokens in an answer")
    add("--timeout", type=float, metavar="SECONDS", help="wall-clock time for an answer")
    add("--version", action="version", version=_version())
    return p


def tools_of(options: argparse.Namespace) -> list[Tool]:
    """The tools that `--tools` names; a folder for the browser is indexed first.

    Raises UsageError, and ToolError for a folder, a service, a key or an extra that is not there.
    """
    names = [name.strip() for name in options.tools.split(",") if name.strip()]
    if "browser" not in names and (options.docs or options.search):
        raise UsageError("--docs and --search are for the browser: add --tools browser")
    return [] if names == ["none"] else [_tool(name, options) for name in names]


def sampling_of(options: argparse.Namespace, defaults: SamplingParams) -> SamplingParams:
    """The model's defaults with what the options change. Raises UsageError."""
    given = {"seed": options.seed, "temperature": options.temperature}
    try:
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error).partition(":")[0]) from None


def _tool(name: str, options: argparse.Namespace) -> Tool:
    match name:
        case "python":
            return Python()
        case "browser":
            return browser.Browser(_pages(options))
        case _:
            return _imported(name)


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
        command = f"python -m harmony.tools.browser index {options.docs}"
        print(f"{len(update.skipped)} files cannot be read; {command} names them", file=sys.stderr)
    return local


def _imported(name: str) -> Tool:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"there is no tool {name!r}: use python, browser, none, or module:function")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UsageError(f"--tools {name}: {error}") from None
    except AttributeError:
        raise UsageError(f"--tools {name}: module {module!r} has no {attribute!r}") from None
    finally:
        sys.path.remove("")
    if isinstance(found, BuiltinTool | CallableTool):
        return found
    if not callable(found):
        raise UsageError(f"--tools {name}: {attribute!r} is not a function")
    return function(found)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more: {text}")
    return number


def _version() -> str:
    try:
        return version("gpt-oss-harmony")
    except PackageNotFoundError:
        return "a source checkout"
