"""The speed of the browser tool: `python tests/bench/browser.py`, about a minute.

A folder of 10,000 made-up pages (half HTML, half Markdown, 3 KB each, words with Zipf's frequencies) is
indexed, searched, indexed again unchanged; a made-up HTML page of 40 KB is turned into numbered text. It
prints one table in Markdown with the medians of CPU time and of wall-clock time; on a shared machine, compare
the former. `--pages N` makes another number of pages.
"""

import argparse
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from harmony.tools.browser.document import HTML, Document, read
from harmony.tools.browser.folder import Folder
from harmony.tools.browser.index import Index

WORDS = 20_000
ROUNDS = 30
QUERIES = 300


@dataclass(frozen=True)
class Time:
    """Seconds of CPU and of the clock."""

    cpu: float
    wall: float


class Author:
    """Writes pages of made-up words, the same at every run."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        letters = "etaoinshrdlucmfwypvbgk"
        self.words = [
            "".join(self.random.choices(letters, k=self.random.randint(2, 10))) for _ in range(WORDS)
        ]
        self.weights = list(accumulate(1 / rank for rank in range(1, WORDS + 1)))

    def sentence(self, length: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=length))

    def markdown(self, size: int) -> str:
        say = self.sentence
        parts = [f"# {say(4)}\n"]
        while sum(map(len, parts)) < size:
            parts.append(f"\n## {say(3)}\n\n{say(60)} [{say(2)}](page-{len(parts)}.md).\n")
        return "".join(parts)

    def html(self, size: int) -> str:
        say = self.sentence
        menu = "".join(f'<li><a href="/menu/{number}">{say(2)}</a></li>' for number in range(10))
        head = f"<title>{say(4)}</title><style>p {{ margin: 0 }}</style>"
        parts = [f"<!doctype html><html><head>{head}</head><body><nav><ul>{menu}</ul></nav><main>"]
        while sum(map(len, parts)) < size:
            rows = "".join(f"<tr><td>{say(2)}<td>{say(1)}</tr>" for _ in range(3))
            parts.append(
                f'<h2 class="title">{say(3)}</h2>\n<p>{say(30)} <a href="/wiki/{len(parts)}">{say(2)}</a>, '
                f"<b>{say(2)}</b> {say(30)} <a class='external' href=\"https://example.org/{len(parts)}\">"
                f"{say(3)}</a>&nbsp;{say(15)}<sup>{len(parts)}</sup>.</p>\n"
                f"<ul><li>{say(6)}<li>{say(6)}</ul><table>{rows}</table>"
            )
        return "".join(parts) + "</main></body></html>"

    def query(self) -> str:
        """One to three words that a reader would look for: neither the commonest nor the rarest."""
        return " ".join(self.random.sample(self.words[50:5000], self.random.randint(1, 3)))


def timed(work: Callable[[], object]) -> Time:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Time(time.process_time() - cpu, time.perf_counter() - wall)


def median(times: list[Time]) -> Time:
    return Time(statistics.median(t.cpu for t in times), statistics.median(t.wall for t in times))


def measured(pages: int, folder: Path) -> Iterator[tuple[str, Time, str]]:
    """What was measured, the time, and the aim or the rate."""
    author = Author()
    for number in range(pages):
        kind = "html" if number % 2 else "md"
        text = author.html(3000) if number % 2 else author.markdown(3000)
        below = folder / str(number % 100)
        below.mkdir(exist_ok=True)
        (below / f"{number}.{kind}").write_text(text)
    index = Index(folder / ".index.sqlite3")
    first = timed(lambda: index.update(Folder(folder)))
    yield f"index {pages:,} pages", first, f"{pages / first.cpu:,.0f} pages a second; aim: 1,000"
    again = timed(lambda: index.update(Folder(folder)))
    yield f"look for changes in {pages:,} pages", again, f"{pages / again.cpu:,.0f} pages a second"
    queries = [author.query() for _ in range(QUERIES)]
    times = [timed(lambda query=query: index.search(query, 10)) for query in queries]
    found = sum(bool(index.search(query, 10)) for query in queries)
    yield f"search, the median of {QUERIES} queries", median(times), f"{found} found something; aim: 5 ms"
    yield "search, the slowest of them", max(times, key=lambda t: t.cpu), ""
    index.close()
    document = Document("https://example.com/wiki/page", author.html(40_000).encode(), HTML)
    times = [timed(lambda: read(document)) for _ in range(ROUNDS)]
    yield f"{len(document.body) / 1000:.0f} KB of HTML to numbered text", median(times), "aim: 8 ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=10_000, metavar="N", help="pages in the folder (10,000)")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores\n")
    print("| | CPU ms | wall ms | |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for what, took, note in measured(options.pages, Path(folder)):
            print(f"| {what} | {took.cpu * 1000:.2f} | {took.wall * 1000:.2f} | {note} |", flush=True)


if __name__ == "__main__":
    main()
