"""Which tokens of which requests the model reads next.

Every step reads up to STEP_TOKENS tokens of up to MOST_SEQUENCES requests: one of each that generates, and
chunks of prompts beside them. A request that runs alone has drafts verified. Requests begin in the order
they came, as soon as there are pages for their prompts. When pages run out, the youngest request gives up
its own; it goes on later, from what the cache still has of it, with the same tokens.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harmony.errors import EngineError
from harmony.runtime.backend import Model
from harmony.runtime.memory import MOST_SEQUENCES, STEP_TOKENS
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.request import Request


class Scheduler:
    """Serves requests on one model with one cache; used in one thread."""

    def __init__(self, model: Model, cache: PagedCache) -> None:
        self._model = model
        self._cache = cache
        self._waiting: deque[Request] = deque()  # the oldest first, and all younger than those that run
        self._running: list[Request] = []  # the oldest first

    def add(self, request: Request) -> None:
        """Queue a request."""
        request.begin()
        self._waiting.append(request)

    def step(self) -> None:
        """Let the model read once, and every request that has its logits sample."""
        self._retire()
        self._admit()
        parts = self._scheduled()
        try:
            logits = self._read([*parts.values()])
        except EngineError as error:
            self._fail(error)
            return
        for (request, part), rows in zip(parts.items(), logits, strict=True):
            true = self._sample(request, rows, part.draft) if part.wanted else 0
            part.sequence.advance(part.tokens[: len(part.tokens) - len(part.draft) + true])
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
        while self._waiting and len(self._running) < MOST_SEQUENCES:
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
            draft = request.draft(STEP_TOKENS - count) if alone else []
            if self._has_pages(request, count + len(draft)):
                assert request.sequence is not None
                parts[request] = Part(request.sequence, tokens + draft, (1 + len(draft)) * last)
        return parts

    def _shares(self) -> Iterator[tuple[Request, int]]:
        """How many tokens each request reads: equally many, but none more than it has; the oldest first."""
        left, shares = STEP_TOKENS, {}
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

    def _read(self, parts: Sequence[Part]) -> Sequence[Tensor]:
        """The logits that each part wants, [wanted, V]."""
        if not parts:
            return ()
        tokens = torch.tensor([token for part in parts for token in part.tokens], device=self._model.device)
        try:
            logits = self._model(tokens, Batch(self._cache, parts))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise EngineError(f"a model step failed ({reason}); try again with a shorter context") from error
        if not logits.amax(-1).isfinite().all():
            raise EngineError("the model computed no finite logits; download its weights again")
        return torch.split(logits, [part.wanted for part in parts])

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
        self._running = []
        self._cache.clear()
