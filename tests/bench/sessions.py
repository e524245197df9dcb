"""What saving costs: a turn of thought and call, saved, and the answer of its tool, saved.

    python tests/bench/sessions.py

A turn has 500 sampled tokens and a tool's answer of 250; sessions of 10, 100 and 1,000 turns lie in a file in
FOLDER (the temporary folder), and 2,000 turns more are measured. Printed are, in milliseconds, the CPU time
that saving adds to a turn, and on the clock the median, the mean and the worst; then what opening the whole
session takes. The goal is a mean of 1 ms. The worst is SQLite moving its write-ahead log into the file; a
busy machine adds to mean and worst what others take of the core.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

from harmony import Author, Message, Role, load_encoding
from harmony.agent import Session, SessionStore

PROSE = "The quick brown fox jumps over the lazy dog, and 1,234 others look on; nobody says a word. "
MEASURED = 2000


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of CPU time and on the clock."""
    cpu, start = time.process_time(), time.perf_counter()
    action()
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - start) * 1e3


def grow(session: Session, turns: int) -> list[tuple[float, float]]:
    """Add turns to a session; the result is what saving took in each."""
    encoding = load_encoding()
    sampled = encoding.encode(
        f"<|channel|>analysis<|message|>{PROSE * 11}<|end|><|start|>assistant<|channel|>commentary "
        f'to=functions.search <|constrain|>json<|message|>{{"query": "{PROSE * 11}"}}<|call|>',
        allowed_special="all",
    )
    author = Author.new(Role.TOOL, "functions.search")
    transcript = session.transcript
    if not transcript.said:
        transcript.append(Message.from_role_and_content(Role.USER, PROSE))
    taken = []
    for _ in range(turns):
        transcript.append_sampled(sampled)
        after_model = timed(lambda: session.save(transcript))
        answer = Message.from_author_and_content(author, PROSE * 11)
        transcript.append(answer.with_channel("commentary").with_recipient("assistant"))
        after_tool = timed(lambda: session.save(transcript))
        taken.append((after_model[0] + after_tool[0], after_model[1] + after_tool[1]))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the file lies")
    parser.add_argument("--quick", action="store_true", help="short sessions alone")
    options = parser.parse_args()
    columns = ("turns", "CPU", "median", "mean", "worst", "open")
    print("".join(f"{column:>10}" for column in columns) + "   ms; goal: a mean of 1")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for turns in (10,) if options.quick else (10, 100, 1000):
            with SessionStore(Path(folder, f"{turns}.db")) as store:
                session = store.session("bench")
                grow(session, turns)
                cpu, clock = zip(*grow(session, 20 if options.quick else MEASURED), strict=True)
                _, opened = timed(lambda store=store: store.open("bench"))
            figures = mean(cpu), median(clock), mean(clock), max(clock), opened
            print(f"{turns:>10}" + "".join(f"{figure:10.3f}" for figure in figures))


if __name__ == "__main__":
    main()
