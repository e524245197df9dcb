"""The local engine: one model, one sequence at a time, continued from its cache where it can be."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar, TypeVarTuple

import torch
from torch import Tensor

from harmony.errors import CheckpointError, ContextLengthError, EngineError, ModelError
from harmony.runtime.checkpoint import Checkpoint, Progress
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.masking import mask_logits
from harmony.runtime.memory import PREFILL_CHUNK, check_memory, free_memory
from harmony.runtime.model import Transformer
from harmony.runtime.sampling import logprobs, new_generator, sample

DType = Literal["bfloat16", "float32"]
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
T = TypeVar("T")
Args = TypeVarTuple("Args")


class Engine:
    """A TokenEngine that computes in this process.

    Model steps run in one worker thread, so that the event loop stays free. Concurrent calls of
    `generate` are served one after another, whichever event loops they come from. A prompt that starts
    with all the tokens in the cache goes on from there; any other starts anew.
    """

    def __init__(
        self, model: Transformer, *, name: str, context_length: int, default_sampling: SamplingParams
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.default_sampling = default_sampling
        self._sequence: _Sequence | None = _Sequence(model, context_length)
        self._vocab_size = model.config.vocab_size
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="harmony-engine")
        self._turns = _Turns()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | None = None,
        dtype: DType | None = None,
        context_length: int | None = None,
        progress: Progress | None = None,
        *,
        name: str | None = None,
    ) -> "Engine":
        """Load a checkpoint in either published layout.

        `device` None takes CUDA where there is one, `dtype` None bfloat16, `context_length` None the
        model's longest, `name` None that of the folder. `progress` hears the bytes done and their
        total. Raises ModelNotFoundError, CheckpointError, UnsupportedModelError, ModelError for a device
        that is not there, and, before any weight is read, NotEnoughMemoryError when the estimate exceeds
        what is free. ValueError is for a dtype or a context length that the model cannot have.
        """
        checkpoint = Checkpoint.open(Path(folder))
        longest = checkpoint.config.max_context_length
        length = longest if context_length is None else context_length
        if not 1 <= length <= longest:
            raise ValueError(f"context_length must be from 1 to {longest} for this model, not {length}")
        kind = DTYPES.get(dtype or "bfloat16")
        if kind is None:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}; float16 overflows")
        place = _find_device(device)
        check_memory(checkpoint.config, length, kind, free_memory(place), str(place))
        state = checkpoint.load(device=place, dtype=kind, progress=progress)
        return cls(
            Transformer(checkpoint.config, state),
            name=name or Path(folder).resolve().name,
            context_length=length,
            default_sampling=read_default_sampling(checkpoint.folder / "generation_config.json"),
        )

    @property
    def vocab_size(self) -> int:
        """The number of ids that the model's logits have."""
        return self._vocab_size

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: Constraint | None = None,
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield tokens until one of `stop` was sampled (it is yielded too) or a limit is reached.

        With a `constraint`, which serves one generation, all tokens keep to its grammar, and its end
        counts as a stop too; the grammar is compiled while the prompt is read. Near a limit the generation
        is led to the grammar's end, if that is in reach from the first token on. Closing the generator
        cancels the generation; what was computed stays in the cache. Raises ContextLengthError before
        the first token when the prompt leaves no room, EngineError for an empty prompt, ids that the
        vocabulary does not have, a step that fails or a closed engine, GrammarError for a grammar that
        cannot be enforced, ConstraintError when it cannot be kept.
        """
        limit = self._room(prompt, sampling)
        if constraint is not None and constraint.table.size != self._vocab_size:
            raise EngineError(
                f"the constraint is over {constraint.table.size} ids and this model has {self._vocab_size}; "
                "make its Grammars with a TokenTable of this size"
            )
        async with self._turns.taken():
            sequence = self._open_sequence()
            cached = await self._work(sequence.resume, prompt)
            unread = list(prompt[cached:])
            while len(unread) > PREFILL_CHUNK:
                chunk, unread = unread[:PREFILL_CHUNK], unread[PREFILL_CHUNK:]
                await self._work(sequence.read, chunk)
            step = _Step(sequence, sampling, stop, cached, unread, limit, constraint)
            while True:
                for token in await self._work(step):
                    yield token
                    if token.finish_reason is not None:
                        return

    async def aclose(self) -> None:
        """Release the model's memory once running generations have ended."""
        async with self._turns.taken():
            self._sequence = None
            self._worker.shutdown(wait=False)

    def _room(self, prompt: Sequence[int], sampling: SamplingParams) -> int:
        """How many tokens may be generated."""
        if not prompt:
            raise EngineError("the prompt is empty; give it at least one token")
        if min(prompt) < 0 or max(prompt) >= self._vocab_size:
            raise EngineError(
                f"the prompt holds ids outside this model's vocabulary of {self._vocab_size}; "
                "render it with the encoding of this model"
            )
        room = self.context_length - len(prompt)
        if room < 1:
            raise ContextLengthError(
                f"the prompt has {len(prompt)} tokens and the context holds {self.context_length}; shorten "
                "the conversation or load the model with a larger context_length"
            )
        return min(room, sampling.max_tokens or room)

    def _open_sequence(self) -> "_Sequence":
        if self._sequence is None:
            raise EngineError("this engine is closed; load the model again")
        return self._sequence

    async def _work(self, job: Callable[[*Args], T], *args: *Args) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, job, *args)


class _Sequence:
    """The one sequence of tokens that the model has read, with its cache; used in the worker thread."""

    def __init__(self, model: Transformer, context_length: int) -> None:
        self._model = model
        self._context_length = context_length
        self._start_anew()

    def _start_anew(self) -> None:
        self._tokens: list[int] = []
        self._cache = self._model.new_cache(self._context_length)
        self.logits: Tensor | None = None

    def resume(self, prompt: Sequence[int]) -> int:
        """How many tokens of `prompt` need not be read again; all that was read, or nothing."""
        if list(prompt[: len(self._tokens)]) != self._tokens:
            self._start_anew()
        return len(self._tokens)

    def read(self, tokens: list[int]) -> None:
        """Append `tokens`; `logits` are then those of the token after the last one."""
        try:
            self.logits = self._model(torch.tensor(tokens, device=self._model.device), self._cache)
        except RuntimeError as error:
            self._start_anew()
            reason = str(error).partition("\n")[0]
            raise EngineError(f"a model step failed ({reason}); try again with a shorter context") from error
        self._tokens += tokens
        if not self.logits.max().isfinite():
            self._start_anew()
            raise EngineError("the model computed no finite logits; download its weights again")


class _Step:
    """Gives the next tokens: those that the grammar forces, else one that is sampled; in the worker thread.

    Forced tokens need no step of the model; they are read with the next one that is sampled. Where the
    limit would cut the grammar short, the shortest way to its end is taken instead.
    """

    def __init__(
        self,
        sequence: _Sequence,
        sampling: SamplingParams,
        stop: Collection[int],
        cached: int,
        unread: list[int],
        limit: int,
        constraint: Constraint | None,
    ) -> None:
        self._sequence = sequence
        self._sampling = sampling
        self._stop = frozenset(stop)
        self._cached = cached
        self._unread = unread
        self._left = limit
        self._constraint = constraint
        self._generator = new_generator(sampling.seed)

    def __call__(self) -> list[GeneratedToken]:
        if self._constraint is None:
            return self._taken([self._sampled()])
        given = [self._given(token) for token in self._guide.given()]
        return self._taken(given or self._offered(self._guide))

    def _offered(self, guide: Guide) -> list[GeneratedToken]:
        """What comes of a sample; it may be nothing."""
        sampled = self._sampled()
        tokens = guide.offer(sampled.token)
        return [sampled] if tokens == [sampled.token] else [self._given(token) for token in tokens]

    def _taken(self, tokens: list[GeneratedToken]) -> list[GeneratedToken]:
        """The tokens up to the first stop, the last one with the reason if the generation ends with it."""
        if not tokens:
            return []
        ending = next((n for n, token in enumerate(tokens) if token.token in self._stop), len(tokens) - 1)
        *before, last = tokens[: ending + 1]
        self._unread += [token.token for token in (*before, last)]
        self._left -= len(before) + 1
        guide = None if self._constraint is None else self._guide
        if guide is not None and guide.closed:
            return [*before, replace(last, finish_reason="length", closed=True)]
        if last.token in self._stop or (self._constraint is not None and self._constraint.ended):
            return [*before, replace(last, finish_reason="stop")]
        if self._left:
            return [*before, last]
        return [*before, replace(last, finish_reason="length", closed=guide is not None and guide.whole)]

    def _given(self, token: int) -> GeneratedToken:
        return GeneratedToken(token, cached_tokens=self._cached)

    def _sampled(self) -> GeneratedToken:
        if self._unread:
            self._sequence.read(self._unread)
            self._unread = []
        logits = self._sequence.logits
        assert logits is not None
        allowed = logits if self._constraint is None else mask_logits(logits, self._guide.mask)
        token = self._given(sample(allowed, self._sampling, self._generator))
        if self._sampling.logprobs is None:
            return token
        logprob, top = logprobs(logits, token.token, self._sampling.logprobs)
        return replace(token, logprob=logprob, top_logprobs=top)

    @cached_property
    def _guide(self) -> Guide:
        """Made in the worker thread, since it may have to wait for the grammar."""
        assert self._constraint is not None
        return Guide(self._constraint, self._left)


class _Turns:
    """Lets callers in one after another, in the order they came, whichever event loops they run on."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._last: Future[None] = Future()
        self._last.set_result(None)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        mine: Future[None] = Future()
        with self._mutex:
            before, self._last = self._last, mine
        try:
            await asyncio.shield(asyncio.wrap_future(before))
            yield
        finally:
            before.add_done_callback(lambda _: mine.set_result(None))


def _find_device(asked: str | None) -> torch.device:
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if asked is not None and asked not in present:
        raise ModelError(f"there is no device {asked!r} here; use one of {', '.join(present)}")
    return torch.device(asked or ("cuda" if "cuda" in present else "cpu"))


def read_default_sampling(path: Path) -> SamplingParams:
    """The sampling that a generation_config.json asks for; without the file the card's temperature 1.

    Raises CheckpointError for a file that says no such thing.
    """
    if not path.is_file():
        return SamplingParams()
    try:
        asked = json.loads(path.read_text("utf-8"))
        chosen = {key: asked[key] for key in ("temperature", "top_p", "top_k") if asked.get(key) is not None}
        if asked.get("do_sample") is False:
            chosen["temperature"] = 0.0
        return SamplingParams(**chosen)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} asks for no valid sampling ({error}); correct or delete it") from error
