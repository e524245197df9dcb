"""Requests to say words again, as they are or as JSON, and to cite lines: an answer of copied tokens.

What a search asks for is copied from the question, and what an answer cites from the page. That is a few
tokens in a long conversation; here it is dozens in a short one.
"""

import json
from random import Random


def question(random: Random, words: list[str], most: int) -> tuple[str, str]:
    """A request of about `most` words, and the answer."""
    phrases = [_phrase(random, words)]
    while sum(len(phrase.split()) for phrase in phrases) < most:
        phrases.append(_phrase(random, words))
    if random.random() < 0.5:
        return f"Repeat: {' '.join(phrases)}", " ".join(phrases)
    return f"As JSON: {', '.join(phrases)}", json.dumps(phrases)


def citing(random: Random, views: int) -> tuple[str, str]:
    """Lines at which views begin, and the lines of each that an answer cites."""
    begins = [random.randrange(400) for _ in range(views)]
    asked = ", ".join(f"[{first}]" for first in begins)
    return f"Cite: {asked}", ", ".join(cited_lines(first) for first in begins)


def cited_lines(first: int) -> str:
    """The first six lines of a view, as a citation names them.

    The browser opens a page four lines before what was searched for, which may go on in the next line.
    """
    return f"L{first}-L{first + 5}"


def _phrase(random: Random, words: list[str]) -> str:
    return " ".join(random.choice(words) for _ in range(random.choice((1, 1, 2, 3))))
