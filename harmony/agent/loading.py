"""From the options of a command to its engine."""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.progress import Progress

from harmony.encoding import load_encoding
from harmony.errors import UsageError
from harmony.runtime.generation import TokenEngine
from harmony.runtime.models import load_engine


def engine_of(options: argparse.Namespace) -> TokenEngine:
    """The engine, loaded with a progress bar when standard error is a terminal, and no dumb one.

    One line says what computes a model here, and why not better kernels; not of tiny, which is so small that
    it does not matter. The vocabulary is set up while torch's machine code is loaded.
    """
    console = Console(stderr=True)
    bars = Progress(
        console=console, transient=True, disable=not (sys.stderr.isatty() and console.is_interactive)
    )
    bar = bars.add_task(f"loading {options.model}")

    def show(done: int, total: int) -> None:
        bars.start()
        bars.update(bar, completed=done, total=total)

    try:
        with ThreadPoolExecutor(1) as meanwhile:
            meanwhile.submit(load_encoding().encode, "")
            engine = load_engine(
                options.model,
                device=options.device,
                context_length=options.context,
                embedding_on_host=options.embedding_on_host,
                max_sequences=options.max_sequences,
                api_key=os.environ.get("HARMONY_API_KEY"),
                progress=show,
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        bars.stop()
    backend = getattr(engine, "backend", None)  # a server's is its own business
    if backend is not None and options.model != "tiny":
        console.print(f"{engine.name}: {backend}", style="dim", markup=False, highlight=False, soft_wrap=True)
    return engine
