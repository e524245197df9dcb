"""What saving costs: a turn of thought and call, saved, and the answer of its tool, saved.

    python tests/bench/sessions.py

A turn has 500 sampled tokens and a tool's answer of 250; sessions of 10, 100 and 1,000 turns lie in a file in
FOLDER (the temporary folder). Printed are the mean, the median and the 99th percentile of the time that
saving adds to a turn, in milliseconds, and what opening the whole session takes. The goal is a mean of 1 ms.
What is far above it is SQLite moving its write-ahead log into the file, once in about 100 turns.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from harmony import Author, Message, Role, load_encoding
from harmony.agent import Session, SessionStore

PROSE = "The quick brown fox jumps over the lazy dog, and 1,234 others look on; nobody says a word. "
MEASURED = 200


def grow(session: Session, turns: int) -> list[float]:
    """Add turns to a session; the result are the seconds that saving took in each."""
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
        start = time.perf_counter()
        session.save(transcript)
        middle = time.perf_counter()
        answer = Message.from_author_and_content(author, PROSE * 11)
        transcript.append(answer.with_channel("commentary").with_recipient("assistant"))
        appended = time.perf_counter()
        session.save(transcript)
        taken.append(middle - start + time.perf_counter() - appended)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the file lies")
    parser.add_argument("--quick", action="store_true", help="short sessions alone")
    options = parser.parse_args()
    print(f"{'turns':>8}{'mean ms':>12}{'median ms':>12}{'p99 ms':>12}{'open ms':>12}   goal: mean ≤ 1 ms")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for turns in (10,) if options.quick else (10, 100, 1000):
            with SessionStore(Path(folder, f"{turns}.db")) as store:
                session = store.session("bench")
                grow(session, turns)
                taken = [seconds * 1e3 for seconds in grow(session, 20 if options.quick else MEASURED)]
                start = time.perf_counter()
                store.open("bench")
                opened = (time.perf_counter() - start) * 1e3
            worst = statistics.quantiles(taken, n=100)[-1]
            mean = statistics.mean(taken)
            print(f"{turns:8}{mean:12.3f}{statistics.median(taken):12.3f}{worst:12.3f}{opened:12.1f}")


if __name__ == "__main__":
    main()
