"""One generation as the scheduler serves it: what it still has to read, and what becomes of its logits."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harmony.kernels import sampling as seeded
from harmony.kernels.masking import mask_logits
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.decoding import Draw
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.lookup import PromptLookup
from harmony.runtime.paged import CachedSequence
from harmony.runtime.prefix import common
from harmony.runtime.sampling import logprobs, new_generator, sample

_STEP = 0x9E3779B97F4A7C15  # between the seeds of draws that follow each other, modulo 2^64


class Request:
    """A prompt, and the tokens that come after it: those that the grammar forces, else those sampled.

    Forced tokens need no step of the model; they are read with the next one that is sampled. Where the
    limit would cut the grammar short, the shortest way to its end is taken instead. As long as there is a
    constraint and no guide yet, the model may read all of the prompt but its last token. Its random numbers
    are its own, one for each sample, so that no other request changes them.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        stop: Collection[int],
        limit: int,
        constraint: Constraint | None = None,
        guide: Guide | None = None,
    ) -> None:
        self.tokens = list(prompt)
        self.sequence: CachedSequence | None = None
        self.cancelled = False
        self.ended = False
        self._sampling = sampling
        self._stop = frozenset(stop)
        self._left = limit
        self._constraint = constraint
        self._guide = guide
        self._lookup = PromptLookup(self.tokens)
        self._generator = new_generator(sampling.seed)
        self._draws = 0
        self._on_device = False
        self._cached: int | None = None
        self._out: list[GeneratedToken] = []
        self._error: Exception | None = None

    @property
    def unread(self) -> int:
        """How many tokens the model has not read; at least one while the request goes on."""
        return len(self.tokens) - (len(read.tokens) if (read := self.sequence) else 0)

    @property
    def readable(self) -> int:
        """How many of them it may read now; the last one only when there is what guides the next."""
        return self.unread - self._is_held

    @property
    def _is_held(self) -> bool:
        return self._constraint is not None and self._guide is None

    @property
    def draws_on_device(self) -> bool:
        """Whether its tokens come by `draw` and `offer`, or from `take` in the same way."""
        plain = self._sampling.top_p == 1 and not self._sampling.top_k and not self._sampling.min_p
        return self._on_device and plain and self._sampling.logprobs is None

    def begin(self, *, on_device: bool = False) -> None:
        """Take what comes before any logits; `on_device` says that tokens can be drawn by seeds."""
        self._on_device = on_device
        self._take_forced()

    def follow(self, guide: Guide) -> None:
        """Go on with a guide that comes later than the prompt."""
        self._guide = guide
        self._take_forced()

    def start(self, sequence: CachedSequence) -> None:
        """Go on in this sequence, for the first time or again."""
        self.sequence = sequence
        if self._cached is None:
            self._cached = len(sequence.tokens)
            self._out = [replace(token, cached_tokens=self._cached) for token in self._out]

    def leave(self) -> None:
        """Give up its pages."""
        if self.sequence is not None:
            self.sequence.close()
            self.sequence = None

    @property
    def lacking(self) -> int:
        """How many pages it takes to read all its tokens and one more."""
        return self.sequence.lacking(len(self.tokens) + 1) if self.sequence else 0

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next, as far as the limit lets them."""
        return self._lookup.draft(min(most, self._left - 1))

    def take(self, logits: Tensor, draft: Sequence[int]) -> int:
        """Sample what comes after all tokens, and go on while that is what the draft says.

        `logits` [len(draft) + 1, V] are those after all tokens and after each of the draft. Returns how many
        of the draft came true; the tokens are those that come without one.
        """
        true = 0
        while True:
            before = len(self.tokens)
            self._take_next(logits[true])
            came = self.tokens[before:]
            same = common(came, draft[true:])
            true += same
            if self.ended or same < len(came):
                break
        if draft:
            self._lookup.judge(draft, true)
        return true

    def _take_next(self, logits: Tensor) -> None:
        """What is sampled by these logits [V], and what is forced behind it."""
        while not self.offer(self._drawn(logits), logits):
            pass

    @property
    def goes_on(self) -> bool:
        """Whether the model will likely read the next token alone, and another one is drawn then."""
        steady = self._guide is None or self._guide.is_steady
        return steady and self._left > 1 and not self.ended

    def draw(self) -> Draw:
        """How the next token is drawn on the device; each call has a seed of its own.

        Raises what a grammar raises that allows no token.
        """
        seed = (self._generator.initial_seed() ^ self._draws * _STEP) & (2**63 - 1)
        self._draws += 1
        return Draw(self._sampling.temperature, seed, None if self._guide is None else self._guide.mask())

    def offer(self, token: int, logits: Tensor | None = None) -> bool:
        """Take a token that was drawn, or what comes in its stead, and what is forced behind it.

        False if it is refused and another one must be drawn. `logits` [V] give logprobs.
        """
        tokens = self._outcome(token, logits)
        if not tokens:
            return False
        self._add(tokens)
        self._take_forced()
        return True

    def collect(self) -> list[GeneratedToken]:
        """The tokens since the last call; raises what ended the request once they are told."""
        if not self._out and self._error is not None:
            raise self._error
        out, self._out = self._out, []
        return out

    @property
    def has_news(self) -> bool:
        """Whether `collect` has something to tell, and can say what of the prompt was in the cache."""
        return self.ended or (bool(self._out) and self._cached is not None)

    def fail(self, error: Exception) -> None:
        """End with this error."""
        self._error, self.ended = error, True

    def _take_forced(self) -> None:
        while self._guide and not self.ended and (tokens := self._guide.given()):
            self._add([self._told(token) for token in tokens])

    def _drawn(self, logits: Tensor) -> int:
        draw = self.draw()
        allowed = logits
        if draw.mask is not None:
            overwrite = self._sampling.logprobs is None and not (self._guide and self._guide.may_widen)
            allowed = mask_logits(logits, torch.as_tensor(draw.mask), overwrite=overwrite)
        if not self.draws_on_device:
            return sample(allowed, self._sampling, self._generator)
        temperature = torch.tensor([draw.temperature], device=logits.device)
        seed = torch.tensor([draw.seed], device=logits.device)
        return int(seeded.sample(allowed[None], temperature, seed))

    def _outcome(self, sampled: int, logits: Tensor | None) -> list[GeneratedToken]:
        """What comes of a sample; it may be nothing."""
        if self._guide is not None:
            tokens = self._guide.offer(sampled)
            if tokens != [sampled]:
                return [self._told(token) for token in tokens]
        if self._sampling.logprobs is None or logits is None:
            return [self._told(sampled)]
        logprob, top = logprobs(logits, sampled, self._sampling.logprobs)
        return [replace(self._told(sampled), logprob=logprob, top_logprobs=top)]

    def _told(self, token: int) -> GeneratedToken:
        return GeneratedToken(token, cached_tokens=self._cached or 0)

    def _add(self, tokens: Sequence[GeneratedToken]) -> None:
        """Take the tokens up to the first stop, the last one with the reason if the request ends with it."""
        ending = next((n for n, token in enumerate(tokens) if token.token in self._stop), len(tokens) - 1)
        *before, last = tokens[: ending + 1]
        self._left -= len(before) + 1
        last = self._ending(last)
        self.ended = last.finish_reason is not None
        self.tokens += (token.token for token in (*before, last))
        self._out += (*before, last)

    def _ending(self, last: GeneratedToken) -> GeneratedToken:
        """The token, with the reason if it is the last one."""
        if self._guide is not None and self._guide.closed:
            return replace(last, finish_reason="length", closed=True)
        if last.token in self._stop or (self._constraint is not None and self._constraint.ended):
            return replace(last, finish_reason="stop")
        if self._left:
            return last
        return replace(last, finish_reason="length", closed=self._guide is not None and self._guide.whole)
