"""How many requests a turn takes on a server that is told of its grammar, and on one that is not.

    python tests/bench/remote_turns.py --runs 20

The runs are those of temperature.py: the bundled model at temperature 2, two functions, a random tool choice
and output type, within a random budget. Every turn is judged as there. The servers are ours, and that of
llama.cpp where xllamacpp is installed. Exit status 0 if nothing is wrong with any turn.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from served import served
from temperature import run

from harmony.runtime.dialects import LlamaCpp, Vllm
from harmony.runtime.engine import Engine
from harmony.runtime.generation import GeneratedToken
from harmony.runtime.models import TINY
from harmony.runtime.remote import RemoteEngine

CONTEXT = 4096


class Counted(RemoteEngine):
    """A remote engine that counts its requests; if it is not `told`, it keeps grammars to itself."""

    def __init__(self, url: str, *, told: bool) -> None:
        super().__init__(url, api_key="none")
        self.requests = 0
        match self._dialect:
            case LlamaCpp() as llama:
                self._dialect = replace(llama, takes_grammars=told)
            case Vllm() as ours:
                self._dialect = replace(ours, keeps_turns=told)

    def _request(self, body: Mapping[str, Any], *others: Any) -> AsyncGenerator[GeneratedToken]:
        self.requests += 1
        return super()._request(body, *others)


@contextmanager
def ours() -> Iterator[str]:
    """The URL of our server."""
    engine = Engine.load(TINY, device="cpu")
    with served(engine) as url:
        yield url
    asyncio.run(engine.aclose())


@contextmanager
def llama() -> Iterator[str]:
    """The URL of a server of llama.cpp."""
    from gguf_file import convert
    from llama_server import llama_server

    with tempfile.TemporaryDirectory() as folder:
        convert(TINY, Path(folder, "tiny.gguf"))
        with llama_server(Path(folder, "tiny.gguf"), key="none", slots=1, context=CONTEXT) as url:
            yield url


def requests_per_turn(url: str, seeds: range, problems: list[str], *, told: bool) -> float:
    """How many requests a turn takes on the server; what is wrong with turns is added to `problems`."""
    engine, counts = Counted(url, told=told), Counter[str]()
    for seed in seeds:
        problems += run(engine, seed, counts)
    return engine.requests / counts["turns"]


def main() -> int:
    """Ask the servers; 0 if every turn is well-formed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seeds, problems = range(options.seed, options.seed + options.runs), list[str]()
    print(f"{'requests a turn':<16} {'told':>8} {'not told':>10} {'ratio':>7}")
    for name, server in {"our server": ours, "llama.cpp": llama}.items():
        if server is llama and find_spec("xllamacpp") is None:
            continue
        with server() as url:
            told = requests_per_turn(url, seeds, problems, told=True)
            untold = requests_per_turn(url, seeds, problems, told=False)
        print(f"{name:<16} {told:>8.2f} {untold:>10.2f} {untold / told:>7.1f}", flush=True)
    print("\n".join(problems) or "nothing is wrong with any turn")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
