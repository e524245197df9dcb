"""Which tokens of which requests the model reads next.

Every step reads up to `max_tokens` tokens of up to `max_sequences` requests: one of each that generates, and
chunks of prompts beside them. A request that runs alone has drafts verified. Requests begin in the order
they came, as soon as there are pages for their prompts. When pages run out, the youngest request gives up
its own; it goes on later, from what the cache still has of it, with the same tokens.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.errors import EngineError
from harmony.kernels import cpu
from harmony.kernels.cpu.threads import torch_alone
from harmony.runtime.backend import Model
from harmony.runtime.decoding import Decoder, DecodeStep, Draw, Drawn
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.memory import CPU_SEQUENCES, STEP_TOKENS
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.request import Request

NOT_FINITE = "the model computed no finite logits; download its weights again"


@contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise EngineError(f"a model step failed ({reason}); try again with a shorter context") from error


NOTHING = Draw(0, 0)  # for a row whose token nobody waits for


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A decode step that the device reads: `parts` in the order of its rows, and where their tokens lie."""

    parts: Mapping[Request, Part]
    positions: Mapping[Request, int]
    step: DecodeStep

    def reads(self, request: Request) -> bool:
        """Whether it reads what the request reads next, and not a token that was drawn and then refused."""
        read = request.sequence
        return read is not None and len(read.tokens) == self.positions[request]


class Scheduler:
    """Serves requests on one model with one cache; used in one thread."""

    def __init__(
        self,
        model: Model,
        cache: PagedCache,
        *,
        max_sequences: int = CPU_SEQUENCES,
        max_tokens: int = STEP_TOKENS,
    ) -> None:
        self._model = model
        self._cache = cache
        self._max_sequences, self._max_tokens = max_sequences, max_tokens
        self._decoder = Decoder(model, cache) if isinstance(model, FusedTransformer) else None
        self._flight: Flight | None = None  # begun before the tokens of the step before it were known
        self._waiting: deque[Request] = deque()  # the oldest first, and all younger than those that run
        self._running: list[Request] = []  # the oldest first

    def add(self, request: Request) -> None:
        """Queue a request."""
        request.begin(on_device=self._decoder is not None)
        self._waiting.append(request)

    def step(self) -> None:
        """Let the model read once, and every request that has its logits sample."""
        self._retire()
        self._admit()
        try:
            if flight := self._flight or self._begun():
                self._land(flight)
        except EngineError as error:
            self._fail(error)
        self._retire()

    def _retire(self) -> None:
        """Let go of what has ended."""
        self._waiting = deque(r for r in self._waiting if not (r.ended or r.cancelled))
        gone = [request for request in self._running if request.ended or request.cancelled]
        for request in gone:
            self._running.remove(request)
            request.leave()

    def _admit(self) -> None:
        """Begin with those that wait, one after the other, while there are pages for them."""
        while self._waiting and len(self._running) < self._max_sequences:
            spare = sum(request.lacking for request in self._running)
            sequence = self._cache.open(self._waiting[0].tokens, spare)
            if sequence is None:
                return
            request = self._waiting.popleft()
            request.start(sequence)
            self._running.append(request)

    def _scheduled(self) -> dict[Request, Part]:
        """What each request reads in this step; the pages for it are taken."""
        parts = {}
        for request, count in self._shares():
            if request not in self._running or not count:
                continue
            start = len(request.tokens) - request.unread
            tokens, last = request.tokens[start : start + count], count == request.unread
            alone = last and len(self._running) == 1
            draft = request.draft(self._max_tokens - count) if alone else []
            if self._has_pages(request, count + len(draft)):
                assert request.sequence is not None
                parts[request] = Part(request.sequence, tokens + draft, (1 + len(draft)) * last)
        return parts

    def _shares(self) -> Iterator[tuple[Request, int]]:
        """How many tokens each request reads: equally many, but none more than it has; the oldest first."""
        left, shares = self._max_tokens, {}
        by_need = sorted(self._running, key=lambda request: request.readable)
        for number, request in enumerate(by_need):
            shares[request] = min(request.readable, left // (len(by_need) - number))
            left -= shares[request]
        return ((request, shares[request]) for request in [*self._running])

    def _has_pages(self, request: Request, count: int) -> bool:
        """Take its pages, if need be those of the youngest, which may be itself."""
        assert request.sequence is not None
        while not request.sequence.extend(count):
            youngest = self._running.pop()
            youngest.leave()
            self._waiting.appendleft(youngest)
            if youngest is request:
                return False
        return True

    def _begun(self) -> Flight | None:
        """Let the model read; None where its logits were needed, and all requests have sampled by them."""
        parts = self._scheduled()
        if self._decoder is None or not _draws_on_device(parts):
            self._read(parts)
            return None
        with _failures_told():
            step = self._decoder.read([*parts.values()])
        return Flight(parts, {request: part.start for request, part in parts.items()}, step)

    def _following(self, flight: Flight, drawing: Sequence[Request]) -> Flight | None:
        """The step behind a flight, which reads the tokens where they are drawn, if all likely go on.

        A request that runs alone and may have a draft waits for its token. What follows a stop, or a token
        that is refused, is dropped.
        """
        alone = len(drawing) == 1
        if not [*flight.parts] == drawing == self._running or self._waiting:
            return None
        if not all(request.goes_on for request in drawing) or (alone and drawing[0].draft(1)):
            return None
        if not all(part.sequence.extend(2) for part in flight.parts.values()):
            return None
        with _failures_told():
            flight.step.read([*flight.parts.values()], drawn=True)
        positions = {request: position + 1 for request, position in flight.positions.items()}
        return Flight(flight.parts, positions, flight.step)

    def _land(self, flight: Flight) -> None:
        """Draw the next tokens, whose masks are made while the device reads, and give them to the requests.

        A refused token is drawn anew, unless a step was begun behind it, for then the model must read
        what is before it again. A request behind whose last token others are forced has it read only.
        """
        reading = [request for request in flight.parts if flight.reads(request)]
        drawing = [request for request in reading if request.unread == 1]
        for request in reading:
            if request not in drawing:
                self._advance(request, flight)
        self._flight = None
        if drawing:
            drawn = self._drawn(flight, drawing)
            self._flight = self._following(flight, drawing)
            drawing = self._refused(flight, drawing, drawn)
        while drawing and self._flight is None:
            drawing = self._refused(flight, drawing, self._drawn(flight, drawing))

    def _drawn(self, flight: Flight, drawing: Collection[Request]) -> Drawn:
        """Begin to draw a token for each of these requests; one whose grammar allows none fails."""
        draws = []
        for request in flight.parts:
            draw = NOTHING
            if request in drawing:
                try:
                    draw = request.draw()
                except Exception as error:  # as in _sample
                    request.fail(error)
            draws.append(draw)
        with _failures_told():
            return flight.step.draw(draws)

    def _refused(self, flight: Flight, drawing: Sequence[Request], drawn: Drawn) -> list[Request]:
        """Give each request its token; returns those that need another one."""
        with _failures_told():
            tokens = dict(zip(flight.parts, drawn.tokens(), strict=True))
        if max(tokens[request] for request in drawing) >= self._model.config.vocab_size:
            raise EngineError(NOT_FINITE)
        refused = [r for r in drawing if not r.ended and not self._offered(r, tokens[r])]
        for request in drawing:
            if request not in refused:
                self._advance(request, flight)
        return refused

    def _advance(self, request: Request, flight: Flight) -> None:
        """The flight has read a token of this request."""
        position = flight.positions[request]
        flight.parts[request].sequence.advance(request.tokens[position : position + 1])

    def _read(self, parts: Mapping[Request, Part]) -> None:
        """Let the model read the parts, and every request that has its logits sample."""
        if not parts:
            return
        tokens = [token for part in parts.values() for token in part.tokens]
        alone = cpu.serves(self._model.unembedding) and cpu.computes_alone(len(tokens))
        with torch_alone(alone):
            self._read_and_sample(parts, tokens)

    def _read_and_sample(self, parts: Mapping[Request, Part], tokens: Sequence[int]) -> None:
        with _failures_told():
            logits = self._model(
                torch.tensor(tokens, device=self._model.device), Batch(self._cache, [*parts.values()])
            )
        if not logits.amax(-1).isfinite().all():
            raise EngineError(NOT_FINITE)
        wanted = torch.split(logits, [part.wanted for part in parts.values()])
        for (request, part), rows in zip(parts.items(), wanted, strict=True):
            true = self._sample(request, rows, part.draft) if part.wanted else 0
            part.sequence.advance(part.tokens[: len(part.tokens) - len(part.draft) + true])

    def _offered(self, request: Request, token: int) -> bool:
        try:
            return request.offer(token)
        except Exception as error:  # as in _sample
            request.fail(error)
            return True

    def _sample(self, request: Request, logits: Tensor, draft: Sequence[int]) -> int:
        try:
            return request.take(logits, draft)
        except Exception as error:  # whatever its grammar raises ends this request and no other
            request.fail(error)
            return 0

    def _fail(self, error: EngineError) -> None:
        """End all that run, and forget what they have read."""
        for request in self._running:
            request.fail(error)
        self._running, self._flight = [], None
        self._cache.clear()


def _draws_on_device(parts: Mapping[Request, Part]) -> bool:
    """Whether all that is read is one token of each request, and the next ones are drawn by seeds."""
    return bool(parts) and all(
        request.draws_on_device and len(part.tokens) == part.wanted == 1 for request, part in parts.items()
    )
