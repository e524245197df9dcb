"""Conversations to training examples: tokens, and a mask of those that the assistant learns to produce.

    python examples/training.py conversations.jsonl examples.jsonl

A line of the input is a conversation, as `Conversation.to_json` writes it; a line of the output is
`{"tokens": [...], "mask": [...]}` for each turn in it, with the prompt that the turn has at inference.
The first example is shown: what is learned in green, then the labels as torch and transformers take
them, with -100 for the rest. Nothing here needs either.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harmony import (
    Conversation,
    HarmonyEncoding,
    HarmonyError,
    TrainingConfig,
    TrainingExample,
    load_encoding,
)


def main() -> None:
    options = _options()
    encoding = load_encoding()
    first, learned, total = None, 0, 0
    with options.output.open("w", encoding="utf-8") as output:
        for example in _examples(options, encoding):
            mask = list(map(int, example.mask))
            print(json.dumps({"tokens": example.tokens, "mask": mask}), file=output)
            first = first or example
            learned += sum(mask)
            total += len(mask)
    if first is not None:
        _show(first, encoding)
    print(f"{learned} of {total} tokens are learned")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make training examples from conversations.")
    parser.add_argument("input", type=Path, help="JSON lines, each a conversation")
    parser.add_argument("output", type=Path, help="JSON lines, each tokens and a mask")
    parser.add_argument(
        "--whole", action="store_true", help="one example a conversation, with the reasoning of all its turns"
    )
    parser.add_argument(
        "--header-order",
        choices=("sampled", "rendered"),
        default="sampled",
        help="tool calls as gpt-oss samples them (the default), or as openai-harmony renders them",
    )
    return parser.parse_args()


def _examples(options: argparse.Namespace, encoding: HarmonyEncoding) -> Iterator[TrainingExample]:
    drop_rule = "nothing" if options.whole else "finished_turns"
    config = TrainingConfig(header_order=options.header_order, drop_rule=drop_rule)
    with options.input.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                conversation = Conversation.from_json(line)
                if options.whole:
                    yield encoding.render_training_example(conversation, config)
                else:
                    yield from encoding.training_examples(conversation, config)
            except (HarmonyError, ValueError, KeyError, TypeError) as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                sys.exit(f"{options.input}, line {number}: this is not a conversation ({reason})")


def _show(example: TrainingExample, encoding: HarmonyEncoding) -> None:
    """Print an example: its text in colours, and its labels with equal ones taken together."""
    console = Console(highlight=False, soft_wrap=True)
    labels = []
    for learned, run in groupby(zip(example.tokens, example.mask, strict=True), lambda pair: pair[1]):
        tokens = [token for token, _ in run]
        text = Text(_printable(encoding.decode(tokens)), style="green" if learned else "dim")
        console.print(text, end="")
        labels.append(str(tokens) if learned else f"[-100] * {len(tokens)}")
    console.print(f"\n\nlabels = {' + '.join(labels)}\n", markup=False)


def _printable(text: str) -> str:
    """Text whose control characters do not reach the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"<U+{ord(c):04X}>" for c in text)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(str(error))
