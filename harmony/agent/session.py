"""A session: a conversation that is kept, and what was decided on the call that it ends with."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony import Message, Role, Segment, Transcript, load_encoding
from harmony.agent.calls import Call, open_call
from harmony.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harmony.agent.session_store import SessionStore


@dataclass(frozen=True)
class Decided:
    """Whether the call that a session ends with may run; the model is told the reason if not."""

    approved: bool
    reason: str = ""


class Session:
    """A conversation that is kept in a store; give it to `Agent.run`. Stores make and open them."""

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        transcript: Transcript,
        version: int = 0,
        decision: Decided | None = None,
    ) -> None:
        self._store = store
        self.id = session_id
        self._version = version
        self._said = transcript.said
        self._drop_rule = transcript.drop_rule
        self._schema_profile = transcript.schema_profile
        self._decision = decision
        self._running = False

    def __repr__(self) -> str:
        return f"<Session {self.id!r} of {len(self._said)} segments>"

    @property
    def transcript(self) -> Transcript:
        """A transcript of its own, of all that is saved."""
        return Transcript(
            load_encoding(), self._said, drop_rule=self._drop_rule, schema_profile=self._schema_profile
        )

    @property
    def messages(self) -> list[Message]:
        """The messages in context."""
        return self.transcript.messages

    @property
    def pending(self) -> Call | None:
        """The call at its end that no tool has answered yet."""
        return open_call(self._said)

    @property
    def version(self) -> int:
        """How often it was changed."""
        return self._version

    @property
    def decision(self) -> Decided | None:
        """What was decided on the pending call; None while nothing is."""
        return self._decision

    def approve(self) -> None:
        """Let the pending call run when the run goes on, in whichever process; nobody is asked again.

        Raises SessionError when no call is pending, or the session was changed since it was opened.
        """
        self._decide(Decided(approved=True))

    def reject(self, reason: str = "") -> None:
        """Have the model told that the pending call was refused; the errors are those of `approve`."""
        self._decide(Decided(approved=False, reason=reason))

    def save(self, transcript: Transcript) -> None:
        """Keep `transcript` as the conversation; only what differs from what is saved is written.

        Raises SessionError, and saves nothing, when the session was changed or deleted since it was opened.
        """
        said = transcript.said
        kept = _common(self._said, said)
        if kept < max(len(said), len(self._said)):
            self._version = self._store.write(self.id, self._version, said, kept)
            self._said = said
            self._decision = None

    def undo(self) -> str:
        """Take back the last question and all that came after it; the question is returned.

        Raises SessionError when nothing was asked yet.
        """
        asked = [i for i, segment in enumerate(self._said) if is_question(segment)]
        if not asked:
            raise SessionError(f"nothing was asked in the session {self.id!r}; there is nothing to undo")
        question = self._said[asked[-1]].message
        assert question is not None
        self.save(self.transcript.before(asked[-1]))
        return question.text

    def edit(self, index: int, message: Message) -> None:
        """Put `message` in place of segment `index` of `transcript.said`; the others keep their tokens.

        Raises RenderError, IndexError, SessionError.
        """
        self.save(self.transcript.replaced(index, message))

    def branch(self, before: int | None = None, *, session_id: str | None = None) -> Session:
        """A new session that goes on by itself from here, or from what was said before segment `before`."""
        transcript = self.transcript if before is None else self.transcript.before(before)
        return self._store.create(session_id, transcript, parent=self.id)

    def _decide(self, decision: Decided) -> None:
        if self.pending is None:
            raise SessionError(f"no call is pending in the session {self.id!r}; there is nothing to decide")
        self._version = self._store.decide(self.id, self._version, decision)
        self._decision = decision

    @contextmanager
    def running(self, version: int) -> Iterator[None]:
        """While a run goes on, which was made from `version`, no other can. Raises SessionError."""
        if self._running:
            raise SessionError(
                f"a run goes on in the session {self.id!r}; wait for its end, or branch the session"
            )
        if version != self._version:
            raise SessionError(
                f"the session {self.id!r} has changed since this run was made; make the run anew"
            )
        self._running = True
        try:
            yield
        finally:
            self._running = False


def is_question(segment: Segment) -> bool:
    """Whether the user asked it, and no model made it up."""
    return segment.message is not None and segment.message.author.role == Role.USER and not segment.is_sampled


def _common(one: Sequence[Segment], other: Sequence[Segment]) -> int:
    """How many segments two conversations begin with in common."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(i for i in range(shorter) if one[i] != other[i])
