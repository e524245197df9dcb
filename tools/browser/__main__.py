"""`python -m harmony.tools.browser index FOLDER`: make a folder searchable ahead of time."""

import argparse
import sys
from collections.abc import Sequence

from harmony.command_line import Parser
from harmony.process import INTERRUPTED, as_process, exit_status
from harmony.tools.browser import indexed

DONE = 0

_NOTES_SHOWN = 20
_INDEX_HELP = """\
Reads every html, md, txt, rst and pdf file below FOLDER and keeps a full-text index of them. A second run
reads only what has changed. The browser does the same by itself when it first searches; do it ahead of time
for a large folder. Files and folders whose name starts with a dot are left out, symbolic links are not
followed, and what is broken or larger than 16 MiB is skipped with a note."""
_EXAMPLES = """\
examples:
  python -m harmony.tools.browser index docs/                       index a folder, in your cache folder
  python -m harmony.tools.browser index docs/ --index docs.sqlite3  keep the index in a file of your own
  python -m harmony.agent --tools browser --docs docs/ "..."        ask about it

In Python, Browser("docs/") finds the index in the cache; Browser(Local("docs/", index="docs.sqlite3")) one of
your own.
exit status: 0 indexed, 2 an error, 130 interrupted, 141 nobody read the output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status."""

    def command() -> int:
        options = _parser().parse_args(arguments)
        return _index(options.folder, options.index)

    return exit_status(command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m harmony.tools.browser",
        description="The pages of the browser tool.",
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    index = commands.add_parser(
        "index",
        help="make a folder searchable, or bring its index up to date",
        description=_INDEX_HELP,
        epilog=_EXAMPLES,
    )
    index.add_argument("folder", metavar="FOLDER", help="where the documents are")
    index.add_argument(
        "--index", metavar="FILE", help="the file to keep the index in (one in your cache folder)"
    )
    return parser


def _index(folder: str, file: str | None) -> int:
    try:
        local, update = indexed(folder, file)
    except KeyboardInterrupt:
        print("interrupted: the index is as it was before", file=sys.stderr)
        return INTERRUPTED
    for url, note in update.skipped[:_NOTES_SHOWN]:
        print(f"skipped {url}: {note}", file=sys.stderr)
    if len(update.skipped) > _NOTES_SHOWN:
        print(f"skipped {len(update.skipped) - _NOTES_SHOWN} more", file=sys.stderr)
    print(
        f"{update.pages} pages: {update.added} new, {update.changed} changed, {update.removed} removed, "
        f"{len(update.skipped)} skipped\nindex: {local.index_file}"
    )
    return DONE


if __name__ == "__main__":
    sys.exit(as_process(main))
