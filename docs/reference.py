"""The reference: a page for each public package, made of its docstrings by pdoc.

    python -m harmony.docs.reference FOLDER

Needs the extra `docs`.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "harmony",
    "harmony.agent",
    "harmony.agent.replay",
    "harmony.agent.telemetry",
    "harmony.agent.trace_format",
    "harmony.agent.trace_view",
    "harmony.tools",
    "harmony.tools.browser",
    "harmony.tools.python",
    "harmony.schemas",
    "harmony.server",
    "harmony.runtime",
    "harmony.kernels",
)
_WITHIN: Final = ("harmony.kernels.cpu", "harmony.kernels.triton", "harmony.schemas.output_type")
"""What pdoc would add to them and has no name of its own to import."""


def write(folder: Path) -> None:
    """Write the pages, index.html before all."""
    import pdoc

    for package in map(import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            setattr(package, name, getattr(package, name))  # pdoc sees only names that are loaded
    pdoc.pdoc(*PACKAGES, *(f"!{module}" for module in _WITHIN), output_directory=folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harmony.docs.reference", description="Write the reference of every public name."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pages are written")
    folder = parser.parse_args(arguments).folder
    if find_spec("pdoc") is None:
        print("error: the reference needs pdoc: pip install 'gpt-oss-harmony[docs]'", file=sys.stderr)
        return 2
    write(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
