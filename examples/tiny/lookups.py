"""Questions about documentation, and what the browser really displays when they are looked up.

The pages are this package's documentation, and pages of the same form whose words are drawn evenly, so
that rare words are copied as often as others. What is held out for the evaluation is never asked here.
"""

import asyncio
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random

from copying import cited_lines

from harmony.tools import Browser
from harmony.tools.browser import Local

ASKED = (
    "What does the documentation say about {x}?", "What does the documentation say about {x}?",
    "what does the documentation say about {x}", "What do the docs say about {x}?",
    "what do the docs say about {x}?", "Look up {x} in the documentation.", "Look up {x} in the docs",
    "look up {x} in the docs.", "Search the documentation for {x}.", "search the docs for {x}",
    "Find {x} in the documentation.", "Find {x} in the docs", "Where does the documentation mention {x}?",
    "Where do the docs explain {x}?", "Which page of the documentation is about {x}?",
    "Is there anything in the documentation about {x}?", "Please look up {x} in the docs.",
    "Tell me what the documentation says about {x}.", "Can you find {x} in the documentation?",
    "What is written about {x} in the documentation?", "What can I read about {x} in the docs?",
)  # fmt: skip
THOUGHT = "I should search the documentation."
HELD_OUT = 5
"""One section in so many is held out."""

_WORD = re.compile(r"[A-Za-z][A-Za-z_]*[A-Za-z]")
_NAME = re.compile(r"[A-Za-z][\w ,'-]*[A-Za-z]")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be been but by can do does for from had has have how if in into is it its more
        most no not of on one only or other so such than that the their them then there these they this those
        to too was were what when where which while who will with would you your""",
    )
)


@dataclass(frozen=True)
class Section:
    """A heading of a page, and the lines below it."""

    page: str
    heading: str
    lines: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether only the evaluation may ask about it."""
        digest = hashlib.blake2b(f"{self.page} {self.heading}".encode(), digest_size=2).digest()
        return int.from_bytes(digest, "big") % HELD_OUT == 0


@dataclass(frozen=True)
class Lookup:
    """What was looked up, what the browser answered, and the answer with its citation."""

    about: str
    found: str
    opened: str
    answer: str


@dataclass(frozen=True)
class Library:
    """Pages that a browser reads, and what may be asked about them."""

    pages: Local
    phrases: tuple[str, ...]

    def lookup(self, about: str, view_tokens: int, cursor: int = 0) -> Lookup | None:
        """Search, open the first result, cite where the view begins; None if the phrase is not there.

        `cursor` is that of the search: how many pages the conversation has displayed before.
        """
        return asyncio.run(self._looked_up(about, view_tokens, cursor))

    async def _looked_up(self, about: str, view_tokens: int, cursor: int) -> Lookup | None:
        browser = Browser(self.pages, view_tokens=view_tokens)
        for _ in range(cursor):
            await browser.call("search", '{"query": "documentation"}')
        found = await browser.call("search", json.dumps({"query": about}))
        if not browser.pages[-1].links:
            return None
        opened = await browser.call("open", '{"id": 0}')
        page = browser.pages[-1]
        first = int(opened.partition("viewing lines [")[2].partition(" ")[0])
        if not holds(" ".join(page.lines[first : first + 6]), about):
            return None
        return Lookup(about, found, opened, answer(page.title, cursor + 1, first))


def call(function: str, **arguments: str | int) -> str:
    """A call as the assistant samples it, after `<|start|>assistant`."""
    return f"<|channel|>analysis to=browser.{function} code<|message|>{json.dumps(arguments)}<|call|>"


def answer(title: str, cursor: int, first: int) -> str:
    """The last message of a lookup, whose view begins at line `first`."""
    return f"The documentation has it on the page {title}【{cursor}†{cited_lines(first)}】."


def holds(text: str, about: str) -> bool:
    """Whether a text has a phrase as words of its own, in any case."""
    pattern = r"\s+".join(re.escape(word) for word in about.split())
    return re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) is not None


@cache
def documentation() -> tuple[Section, ...]:
    """The sections of this package's documentation."""
    (folder,) = import_module("harmony.docs").__path__
    return tuple(
        section
        for path in sorted(Path(folder).glob("*.md"))
        for section in sections(path.name, path.read_text("utf-8"))
    )


def sections(page: str, text: str) -> Iterator[Section]:
    """A page at its headings; a `#` in code is none."""
    heading, lines, code = "", [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if not code and re.match(r"#{1,3} ", line):
            yield Section(page, heading, tuple(lines))
            heading, lines = line.lstrip("# "), []
        else:
            lines.append(line)
    yield Section(page, heading, tuple(lines))


def held_out_phrases() -> list[str]:
    """The headings of the sections held out, and two terms of each: what the evaluation asks about.

    Those of one word are left out, since any word may be asked about.
    """
    phrases = []
    for section in documentation():
        if section.held_out:
            terms = list(dict.fromkeys(_terms(section.lines, lengths=(2,))))
            phrases += [*_heading(section), *Random(section.heading).sample(terms, min(2, len(terms)))]
    return [phrase for phrase in dict.fromkeys(phrases) if " " in phrase]


@cache
def real_library() -> Library:
    """The documentation, with the phrases of the sections that are not held out; some are in others too."""
    (folder,) = import_module("harmony.docs").__path__
    learned = [section for section in documentation() if not section.held_out]
    headings = [heading for section in learned for heading in _heading(section)]
    terms = [term for section in learned for term in _terms(section.lines)]
    return Library(Local(folder, index=":memory:"), (*10 * headings, *terms))


def invented_library(random: Random, words: list[str], folder: Path) -> Library:
    """A few pages written into `folder`: the documentation's lines with other words."""
    phrases = []
    learned = [section for section in documentation() if not section.held_out and len(section.lines) > 3]
    for number in range(random.randrange(1, 11)):
        chosen = random.sample(learned, random.randrange(1, 7))
        text = [f"# {_reworded(random, chosen[0].heading, words)}", ""]
        for section in chosen:
            heading = _reworded(random, section.heading, words)
            lines = [_reworded(random, line, words) for line in section.lines]
            text += [f"## {heading}", *lines]
            phrases += [*_heading(Section("", heading, ())), *_terms(tuple(lines))]
        (folder / f"{random.choice(words).lower()}{number}.md").write_text("\n".join(text), "utf-8")
    return Library(Local(folder, index=":memory:"), tuple(phrases))


def invented_libraries(random: Random, words: list[str]) -> Iterator[Library]:
    """Endless libraries, each for as long as the next is not asked for."""
    while True:
        with tempfile.TemporaryDirectory() as folder:
            library = invented_library(random, words, Path(folder))
            yield library
            asyncio.run(library.pages.aclose())


@cache
def words_of_documentation() -> tuple[str, ...]:
    """The words that the documentation has, held out or not, as it spells them."""
    text = "\n".join(line for section in documentation() for line in (section.heading, *section.lines))
    return tuple(sorted(set(_WORD.findall(text))))


def _heading(section: Section) -> list[str]:
    """The heading as one asks about it; none where it is not plain words."""
    heading = re.sub(r"^\d+\. ", "", section.heading).replace("`", "")
    return [heading] if _NAME.fullmatch(heading) else []


def _terms(lines: tuple[str, ...], lengths: tuple[int, ...] = (1, 2, 3)) -> Iterator[str]:
    """Runs of one to three words in prose that neither begin nor end with a common one."""
    code = False
    for line in lines:
        code ^= line.startswith("```")
        if code or line.startswith("|"):
            continue
        for run in re.findall(r"[A-Za-z_]+(?: [A-Za-z_]+)*", line):
            words = run.split()
            for length in lengths:
                for at in range(len(words) - length + 1):
                    first, last = words[at], words[at + length - 1]
                    if min(len(first), len(last)) > 2 and not {first.lower(), last.lower()} & _COMMON:
                        yield " ".join(words[at : at + length])


def _reworded(random: Random, text: str, words: list[str]) -> str:
    """Most words replaced by others that begin in the same case."""

    def other(match: re.Match[str]) -> str:
        old = match[0]
        if old.lower() in _COMMON and random.random() < 0.8:
            return old
        new = random.choice(words)
        return new[0].upper() + new[1:] if old[0].isupper() else new

    return _WORD.sub(other, text)
