"""What a transcript costs beside a full rendering by openai-harmony.

    python tests/bench/transcript.py

Both sides take turns in one process; printed are medians in microseconds.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harmony import (
    Author,
    Conversation,
    DeveloperContent,
    DropRule,
    Message,
    Role,
    SystemContent,
    ToolDescription,
    Transcript,
    load_encoding,
)
from harmony.vocabulary import ordinary_tokens, tiktoken_lines

ROUNDS, COPIES = 31, 10
PROSE = "The quick brown fox jumps over the lazy dog, and 1,234 others look on; nobody says a word. " * 2


def said(number: int) -> Message:
    """Turns of five: a question, a thought, a call, its result, the answer."""
    text = f"{number}: {PROSE}"
    match number % 5:
        case 0:
            return Message.from_role_and_content(Role.USER, text)
        case 1:
            return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("analysis")
        case 2:
            call = Message.from_role_and_content(Role.ASSISTANT, f'{{"query": "{text}"}}')
            call = call.with_channel("commentary").with_recipient("functions.search")
            return call.with_content_type("<|constrain|>json")
        case 3:
            author = Author.new(Role.TOOL, "functions.search")
            result = Message.from_author_and_content(author, text)
            return result.with_channel("commentary").with_recipient("assistant")
        case _:
            return Message.from_role_and_content(Role.ASSISTANT, text).with_channel("final")


def conversation(messages: int) -> list[Message]:
    search = ToolDescription.new("search", "Search.", {"type": "object", "properties": {}})
    developer = DeveloperContent.new().with_function_tools([search])
    return [
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        *map(said, range(messages - 2)),
    ]


def reference() -> Callable[[Conversation], Callable[[], object]]:
    """Makes a conversation of ours into a rendering by openai-harmony."""
    folder = tempfile.mkdtemp()
    (Path(folder) / "o200k_base.tiktoken").write_bytes(tiktoken_lines(ordinary_tokens()))
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = folder
    import openai_harmony as theirs

    encoding = theirs.load_harmony_encoding("HarmonyGptOss")

    def render(ours: Conversation) -> Callable[[], object]:
        its = theirs.Conversation.from_json(ours.to_json())
        return lambda: encoding.render_conversation_for_completion(its, theirs.Role.ASSISTANT)

    return render


def appends(message: Message) -> Callable[[Transcript], object]:
    return lambda transcript: transcript.append(message)


def microseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e6


def microseconds_each(action: Callable[[Transcript], object], transcript: Transcript) -> float:
    """The mean over copies of the transcript, which are made beforehand."""
    copies = [transcript.copy() for _ in range(COPIES)]
    return microseconds(lambda: [action(copy) for copy in copies]) / COPIES


def main() -> None:
    encoding, render = load_encoding(), reference()
    question, thought, _, result, answer = map(said, range(5))
    print(f"{'microseconds':34}" + "".join(f"{rule:>16}" for rule in DropRule))
    for count in (100, 1000):
        messages = conversation(count)
        full = render(Conversation.from_messages(messages))
        transcripts = [Transcript(encoding, drop_rule=rule) for rule in DropRule]
        for transcript in transcripts:
            transcript.append(*messages)
        held = [int(str(token)) for token in transcripts[0].prompt]
        actions: dict[str, Callable[[Transcript], object]] = {
            "render the new message alone": lambda transcript: encoding.render(thought),
            "append a thought": appends(thought),
            "append a result": appends(result),
            "append an answer": appends(answer),
            "append a question": appends(question),
            "read prompt": lambda transcript: transcript.prompt,
            "cached_prefix": lambda transcript, held=held: transcript.cached_prefix(held),
            "copy": lambda transcript: transcript.copy(),
            "counts": lambda transcript: transcript.counts(),
        }
        theirs: list[float] = []
        ours: dict[str, list[list[float]]] = {name: [[] for _ in DropRule] for name in actions}
        for _ in range(ROUNDS):
            theirs.append(microseconds(full))
            for name, action in actions.items():
                for taken, transcript in zip(ours[name], transcripts, strict=True):
                    taken.append(microseconds_each(action, transcript))
        print(f"{count} messages, {len(held)} tokens")
        print(f"  {'openai-harmony renders them all':32}{statistics.median(theirs):16.1f}")
        for name, columns in ours.items():
            print(f"  {name:32}" + "".join(f"{statistics.median(taken):16.1f}" for taken in columns))


if __name__ == "__main__":
    main()
