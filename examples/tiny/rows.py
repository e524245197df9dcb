"""Which tokens of the vocabulary have a row in the embedding, and what the rows begin as."""

import collections
import math

import torch
from conversations import Writer
from lookups import words_of_documentation
from torch import Tensor

from harmony import load_encoding


def seen_tokens(seed: int, conversations: int = 4000, at_least: int = 8) -> list[int]:
    """The tokens that get a row: those that occur often enough, all groups of digits, and those of the
    documentation's words, with and without a space before them, and in small letters.
    """
    encoding = load_encoding()
    writer = Writer(encoding, seed)
    counts = collections.Counter(t for _ in range(conversations) for t in writer.write(512).tokens)
    for example in (writer.write_lookups(2048) for _ in range(conversations // 20)):
        counts.update(example.tokens)
    digits = (f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width))
    numbers = {encoding.encode(text)[0] for text in digits}
    cased = {spelling for word in words_of_documentation() for spelling in (word, word.lower())}
    words = {token for word in cased for text in (word, f" {word}") for token in encoding.encode(text)}
    return sorted(numbers | words | {token for token, count in counts.items() if count >= at_least})


@torch.no_grad()
def relate_spellings(embedding: Tensor, seen: list[int], shared: float = 0.7) -> None:
    """Give the rows of ` Paris`, `Paris` and ` paris` most of their direction in common.

    What copies a word from a sentence into JSON then need not learn each pair of spellings by itself.
    """
    encoding = load_encoding()
    first: dict[str, int] = {}
    for row, token in enumerate(seen, start=1):
        related = first.setdefault(encoding.decode([token]).strip().lower(), row)
        if related != row:
            embedding[row] *= math.sqrt(1 - shared**2)
            embedding[row] += shared * embedding[related]


@torch.no_grad()
def spell_new_rows(embedding: Tensor, seen: list[int], new: list[int], own: float = 0.3) -> None:
    """Let new rows be their word's part, which all its spellings share, plus the part of the spelling.

    That of a spelling is the mean of the rows that are known and spelled so; `own` is the share of a row's
    length that it has for itself.
    """
    encoding = load_encoding()
    texts = [encoding.decode([token]) for token in seen]
    unknown = set(new)
    rows = collections.defaultdict(list)
    for row, text in enumerate(texts, start=1):
        if row not in unknown:
            rows[_spelling(text)].append(row)
    overall = embedding[[row for known in rows.values() for row in known]]
    scale = overall.std()
    means = {spelling: embedding[known].mean(0) for spelling, known in rows.items() if len(known) > 20}
    other = overall.mean(0)
    words: dict[str, Tensor] = {}
    for row, text in enumerate(texts, start=1):
        if row not in unknown:
            words.setdefault(text.strip().lower(), embedding[row] - means.get(_spelling(text), other))
    for row in new:
        text = texts[row - 1]
        word = words.setdefault(text.strip().lower(), torch.randn_like(embedding[row]) * scale)
        noise = torch.randn_like(word) * scale * own
        embedding[row] = math.sqrt(1 - own**2) * word + noise + means.get(_spelling(text), other)


def _spelling(text: str) -> tuple[bool, str]:
    """Whether a space comes first, and the case of what follows."""
    word = text.strip()
    cases = {"lower": word.islower(), "title": word.istitle(), "upper": word.isupper()}
    case = next((case for case, so in cases.items() if so and word.isalpha()), "other")
    return text.startswith(" "), case
