"""Indexing a folder with a bar on standard error, where that is a terminal."""

import os
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from harmony.tools.browser.index import Update
from harmony.tools.browser.local import Local


def indexed(
    folder: str | os.PathLike[str], index: str | os.PathLike[str] | None = None
) -> tuple[Local, Update]:
    """A folder with its index up to date, and what that took. Raises ToolError."""
    console = Console(stderr=True, highlight=False)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    is_seen = sys.stderr.isatty() and console.is_interactive
    with Progress(*columns, console=console, transient=True, disable=not is_seen) as bars:
        bar = bars.add_task("indexing", total=None)
        local = Local(
            folder, index=index, progress=lambda done, total: bars.update(bar, completed=done, total=total)
        )
        return local, local.update()
