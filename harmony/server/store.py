"""What the server remembers between requests, in memory and bounded: transcripts and responses.

A client sends a conversation back without its reasoning, and as text. A transcript is found again by what
the client sees of it, so that the reasoning between tool calls is put back, and the tokens are those that
were sampled.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from harmony import Message, Transcript, load_encoding
from harmony.turns import is_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

V = TypeVar("V")


class Bounded(Generic[V]):
    """The values that were used last, as many as together weigh at most `capacity`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._weight = 0

    def get(self, key: str) -> V | None:
        """The value, which is then the one used last."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: str, value: V, weight: int) -> None:
        """Keep a value, in place of those that were used longest ago."""
        if key in self._held:
            self._weight -= self._held.pop(key)[1]
        self._held[key] = value, weight
        self._weight += weight
        while self._weight > self._capacity:
            self._weight -= self._held.popitem(last=False)[1][1]


class Transcripts:
    """Transcripts by what clients see of them; `capacity` counts tokens."""

    def __init__(self, capacity: int) -> None:
        self._kept: Bounded[Transcript] = Bounded(capacity)

    def put(self, messages: Sequence[Message], transcript: Transcript) -> None:
        """Keep the transcript of a conversation that a client will send back as `messages`."""
        *_, (_, key) = _prefixes(messages)
        self._kept.put(key, transcript.copy(), len(transcript.tokens))

    def resume(self, messages: Sequence[Message]) -> Transcript:
        """The transcript of these messages, as far as it is known as it was sampled. Raises RenderError."""
        for stop, key in reversed([*_prefixes(messages)]):
            if (known := self._kept.get(key)) is not None:
                transcript = known.copy()
                transcript.append(*messages[stop:])
                return transcript
        transcript = Transcript(load_encoding())
        transcript.append(*messages)
        return transcript


def _prefixes(messages: Sequence[Message]) -> Iterator[tuple[int, str]]:
    """Where the visible beginnings of a conversation end, and a digest of each."""
    digest = hashlib.sha256()
    for stop, message in enumerate(messages, start=1):
        if not is_reasoning(message):
            digest.update(message.model_dump_json().encode() + b"\n")
            yield stop, digest.hexdigest()
