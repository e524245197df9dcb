"""Requests to say words again, as they are or as JSON: every token of the answer is copied.

What a search asks for is copied from the question. That is a few tokens in a long conversation; here it
is dozens in a short one.
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


def _phrase(random: Random, words: list[str]) -> str:
    return " ".join(random.choice(words) for _ in range(random.choice((1, 1, 2, 3))))
