"""The example that makes training data, and the training of the tiny model beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conversations import Writer
from talk import DEVELOPER, SYSTEM, analysis, call, final, result, user

from harmony import Conversation, HarmonyEncoding, TrainingConfig

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "training.py"
SAID = [
    *(SYSTEM, DEVELOPER, user("What is 2 + 2?"), analysis("I ask f."), call("{}"), result("4"), final("4")),
    *(user("\x1b[2J And 3 + 3?"), analysis("Easy."), final("6")),
]


def run(folder: Path, *lines: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    (folder / "conversations.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return subprocess.run(
        [sys.executable, EXAMPLE, "conversations.jsonl", "examples.jsonl", *options],
        cwd=folder,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=False,
    )


def written(folder: Path) -> list[dict[str, list[int]]]:
    return [json.loads(line) for line in (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_turn_becomes_a_line(encoding: HarmonyEncoding, tmp_path: Path) -> None:
    """The file holds tokens and masks; what is shown has colours, labels, and no control characters."""
    conversation = Conversation.from_messages(SAID)
    done = run(tmp_path, conversation.to_json(), conversation.to_json())
    assert done.returncode == 0, done.stderr
    examples = encoding.training_examples(conversation, TrainingConfig(header_order="sampled"))
    assert written(tmp_path) == [{"tokens": e.tokens, "mask": [*map(int, e.mask)]} for e in examples] * 2
    assert "\x1b[32m<|channel|>final<|message|>4<|return|>" in done.stdout
    assert f"[-100] * {examples[0].mask.index(True)} + [200005, " in done.stdout


def test_a_whole_conversation_becomes_a_line(encoding: HarmonyEncoding, tmp_path: Path) -> None:
    """With --whole the reasoning of all turns is kept and learned; the order of headers can be chosen."""
    done = run(
        tmp_path,
        Conversation.from_messages(SAID).to_json(),
        options=("--whole", "--header-order", "rendered"),
    )
    (example,) = written(tmp_path)
    text = encoding.decode(example["tokens"])
    assert "I ask f." in text
    assert "assistant to=functions.f<|channel|>" in text
    assert "\x1b[2J" not in done.stdout
    assert "<U+001B>[2J" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "{}",
        '{"messages": [1]}',
        '{"messages": [{"role": "user", "content": [{"type": "sound"}]}]}',
        '{"messages": [{"role": "tool", "content": ""}, {"role": "assistant", "content": ""}]}',
    ],
)
def test_a_line_that_is_no_conversation_is_named(line: str, tmp_path: Path) -> None:
    """It ends the program with one line that says which it is."""
    done = run(tmp_path, Conversation.from_messages(SAID).to_json(), line)
    assert done.returncode == 1
    assert "line 2: this is not a conversation" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_tiny_model_learns_the_same_tokens(encoding: HarmonyEncoding) -> None:
    """The exchanges of its training, masks included, are the training examples of their messages."""
    writer = Writer(encoding, seed=6)
    config = TrainingConfig(header_order="sampled")
    for _ in range(50):
        exchange = writer._lesson()
        messages = encoding.parse_messages_from_completion_tokens(exchange.tokens)
        example = encoding.render_training_example(Conversation.from_messages(messages), config)
        assert (example.tokens, example.mask) == (exchange.tokens, exchange.sampled)
