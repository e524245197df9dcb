"""The reference: a page for each public package, made of its docstrings by pdoc.

    python -m harmony.docs.reference FOLDER

Needs the extra `docs`.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import pdoc

PACKAGES: Final = (
    "harmony",
    "harmony.agent",
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
    for package in map(import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            setattr(package, name, getattr(package, name))  # pdoc sees only names that are loaded
    pdoc.pdoc(*PACKAGES, *(f"!{module}" for module in _WITHIN), output_directory=folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m harmony.docs.reference", description="Write the reference of every public name."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pages are written")
    write(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
