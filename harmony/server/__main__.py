"""`python -m harmony.server`: serve a model to clients of OpenAI."""

import sys
from collections.abc import Sequence

from harmony.process import as_process, exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until it is interrupted; the result is its exit status."""

    def command() -> int:
        from harmony.server.command import run  # here, as ^C may come while it loads

        return run(arguments)

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(as_process(main))
