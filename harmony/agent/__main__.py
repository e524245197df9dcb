"""`python -m harmony.agent`: one answer, or a chat."""

import gc
import sys
from collections.abc import Sequence

from harmony.process import as_process, exit_status


def process() -> int:
    """The command as a process of its own, which looks for garbage seldom, and not at the end.

    Until the first token nearly all that it makes is code, loaded once to stay, so it first looks after
    that. `python tests/bench/first_token.py` measures what looking through it again and again would cost.
    """
    gc.set_threshold(500_000)
    try:
        return as_process(main)
    finally:
        gc.freeze()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status."""

    def command() -> int:
        from harmony.agent.command import run  # here, as ^C may come while it loads

        return run(sys.argv[1:] if arguments is None else arguments)

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(process())
