"""`python -m harmony`: prompts and completions as text, as tokens and as messages.

A command is a function of its arguments that returns the exit status; to add one, put it into COMMANDS.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Final

from harmony.commands import parse, render, tokens
from harmony.errors import UsageError
from harmony.grammar_command import print_grammar
from harmony.process import as_process, exit_status

DONE: Final = 0

COMMANDS: Final[dict[str, tuple[Callable[[Sequence[str]], int], str]]] = {
    "render": (render, "a conversation as the prompt that the model reads"),
    "parse": (parse, "what the model sampled as messages, and what is wrong with it"),
    "tokens": (tokens, "a text or token ids, token by token"),
    "grammar": (print_grammar, "the grammar that a turn is held to"),
}

_HELP: Final = """\
usage: python -m harmony COMMAND [OPTIONS] FILE

The harmony format of gpt-oss models, to look at: prompts, completions, tokens.
FILE may be - for standard input.

commands:
{commands}

examples:
  python -m harmony render conversation.json          the prompt, special tokens written out
  python -m harmony render --from chat request.json   the prompt of a Chat Completions request
  python -m harmony parse completion.txt              its messages; faults go to standard error
  echo "Hello world" | python -m harmony tokens -     ids, offsets and texts
  python -m harmony render c.json | python -m harmony parse -

python -m harmony COMMAND --help tells what a command reads, and its options.
Colours are for terminals, unless NO_COLOR is set.
exit status: 0 done, 2 an error, told in one line, 130 interrupted, 141 nobody read the output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is its exit status."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    return exit_status(lambda: _run(given))


def _run(given: Sequence[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:<8} {about}" for name, (_, about) in COMMANDS.items())
        print(_HELP.format(commands=listed))
        return DONE
    if given[0] not in COMMANDS:
        raise UsageError(f"there is no command {given[0]!r}: use {', '.join(COMMANDS)} (see --help)")
    command, _ = COMMANDS[given[0]]
    return command(given[1:])


if __name__ == "__main__":
    sys.exit(as_process(main))
