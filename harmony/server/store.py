"""What the server remembers between requests, in memory and bounded: conversations and responses.

A client sends a conversation back without its reasoning, and as text. A transcript is found again by what
the client sees of it, so that the reasoning between tool calls is put back, and the tokens are those that
were sampled; and with it its tools, so that the cursors of a browser keep their meaning.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from harmony import Message, Role, Transcript, load_encoding
from harmony.turns import is_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harmony.tools.tool import ServedTool

V = TypeVar("V")

_CHARACTERS_PER_TOKEN: Final = 4


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


@dataclass(frozen=True, slots=True)
class State:
    """How a conversation stands: what was said, and the tools with what they have displayed."""

    transcript: Transcript
    tools: Sequence[ServedTool] = ()

    @property
    def weight(self) -> int:
        """In tokens; pages that were displayed weigh about as much as if they were said."""
        displayed = sum(tool.size for tool in self.tools)
        return len(self.transcript.tokens) + displayed // _CHARACTERS_PER_TOKEN

    def copy(self) -> State:
        """One that goes on from here by itself."""
        return State(self.transcript.copy(), [tool.copy() for tool in self.tools])


class States:
    """The states of conversations by what clients see of them; `capacity` counts tokens."""

    def __init__(self, capacity: int) -> None:
        self._kept: Bounded[State] = Bounded(capacity)

    def put(self, messages: Sequence[Message], state: State) -> None:
        """Keep the state of a conversation that a client will send back as `messages`."""
        *_, (_, key) = _prefixes(messages)
        self._kept.put(key, state.copy(), state.weight)

    def resume(self, messages: Sequence[Message], tools: Sequence[ServedTool] = ()) -> State:
        """The state after these messages, as far as it is known as it was sampled.

        What is not known is rendered, and begins with copies of `tools`. How conversations open is kept,
        since many open alike. Raises RenderError.
        """
        state, said = State(Transcript(load_encoding()), tools), 0
        for stop, key in reversed([*_prefixes(messages)]):
            if (known := self._kept.get(key)) is not None:
                state, said = known, stop
                break
        state, opening = state.copy(), _opening(messages)
        if said < opening:
            state.transcript.append(*messages[said:opening])
            self.put(messages[:opening], state)
            said = opening
        state.transcript.append(*messages[said:])
        return state


def _opening(messages: Sequence[Message]) -> int:
    """How many messages tell the model who it is and what it has, before anything is said."""
    said = (
        n for n, message in enumerate(messages) if message.author.role not in (Role.SYSTEM, Role.DEVELOPER)
    )
    return next(said, len(messages))


def _prefixes(messages: Sequence[Message]) -> Iterator[tuple[int, str]]:
    """Where the visible beginnings of a conversation end, and a digest of each."""
    digest = hashlib.sha256()
    for stop, message in enumerate(messages, start=1):
        if not is_reasoning(message):
            digest.update(message.model_dump_json().encode() + b"\n")
            yield stop, digest.hexdigest()
