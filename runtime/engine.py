"""The local engine: one model that serves many generations at once, each from what the cache has of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar, TypeVarTuple

import torch

from harmony.errors import CheckpointError, ContextLengthError, EngineError, ModelError
from harmony.runtime.backend import Model, build, current, describe, why_not_fused
from harmony.runtime.checkpoint import Checkpoint, Progress
from harmony.runtime.closing.guide import Guide
from harmony.runtime.constraint import Constraint
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.memory import (
    STEP_TOKENS,
    check_memory,
    default_sequences,
    free_memory,
    page_counts,
    step_tokens,
)
from harmony.runtime.paged import PagedCache
from harmony.runtime.request import Request
from harmony.runtime.scheduler import Scheduler

DType = Literal["bfloat16", "float32"]
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
T = TypeVar("T")
Args = TypeVarTuple("Args")


class Engine:
    """A TokenEngine that computes in this process.

    Concurrent calls of `generate`, whichever event loops they come from, are served together: each step of
    the model reads tokens of all of them. Steps run in one worker thread, so that event loops stay free,
    and only while somebody waits for a token. A prompt goes on from the longest beginning of it that the
    cache still has.

    `backend` says in one line what computes: Triton's kernels on a GPU, those of a CPU, or the torch
    reference, and why. HARMONY_GPU_KERNELS=torch and HARMONY_CPU_KERNELS=torch force the reference.

    A generation with a seed has its own random numbers, so its tokens depend on nothing else in the batch
    but by rounding: with other numbers of rows a product of matrices may differ in the last bits of a row.
    In float32 that moves probabilities by about 1e-6 of the whole, and decides where a draw falls that
    close to the border between two tokens, or where the two likeliest are that close.

    `max_sequences` generations are served together at most, others wait; None is 128 on CUDA, where more
    rows cost a step little time, since weights are read once for all, and 16 on a CPU, where they cost much.
    Memory is set apart for each of them.
    """

    def __init__(
        self,
        model: Model,
        *,
        name: str,
        context_length: int,
        default_sampling: SamplingParams,
        max_sequences: int | None = None,
    ) -> None:
        self.name = name
        self.backend = describe(model)
        self.context_length = context_length
        self.default_sampling = default_sampling
        sequences, fused = _sequences(max_sequences, model.device), isinstance(model, FusedTransformer)
        full, sliding = page_counts(model.config, context_length, sequences, packed=fused)
        cache = PagedCache(model.config, full, sliding, dtype=model.dtype, device=model.device)
        self._scheduler: Scheduler | None = Scheduler(
            model, cache, max_sequences=sequences, max_tokens=step_tokens(packed=fused)
        )
        self._vocab_size = model.config.vocab_size
        self._worker = ThreadPoolExecutor(
            1, thread_name_prefix="harmony-engine", initializer=current(model.device).__enter__
        )
        self._running: set[Future[None]] = set()
        self._closing = False

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
        embedding_on_host: bool = False,
        max_sequences: int | None = None,
    ) -> "Engine":
        """Load a checkpoint in either published layout.

        `device` None takes CUDA where there is one, `dtype` None bfloat16, `context_length` None the
        model's longest, `name` None that of the folder. `embedding_on_host` leaves the embedding table, which
        a token reads one row of, in the memory of the host: 1.08 GiB less on the GPU for gpt-oss, and nothing
        new on a CPU. `max_sequences` is that of the class.
        `progress` hears the bytes done and their total. Raises ModelNotFoundError, CheckpointError,
        UnsupportedModelError, ModelError for a device that is not there, and, before any weight is read,
        NotEnoughMemoryError when the estimate exceeds what is free. ValueError is for a dtype, a context
        length, a number of sequences or a place of the embedding that the model cannot have.
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
        sequences = _sequences(max_sequences, place)
        packed, on_host = why_not_fused(place, kind) is None, embedding_on_host and place.type != "cpu"
        free = free_memory(place)
        check_memory(
            checkpoint.config,
            length,
            kind,
            free,
            str(place),
            max_sequences=sequences,
            packed=packed,
            embedding_on_host=on_host,
        )
        with current(place):
            state = checkpoint.load(
                device=place, dtype=kind, progress=progress, packed=packed, embedding_on_host=on_host
            )
            model = build(checkpoint.config, state)
        return cls(
            model,
            name=name or Path(folder).resolve().name,
            context_length=length,
            default_sampling=read_default_sampling(checkpoint.folder / "generation_config.json"),
            max_sequences=sequences,
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
        counts as a stop too; the prompt is read while the grammar is compiled. Near a limit the generation is
        led to the grammar's end, if that is in reach from the first token on. Closing the generator
        cancels the generation; what was computed stays in the cache while there is room. Raises
        ContextLengthError before the first token when the prompt leaves no room, EngineError for an empty
        prompt, ids that the vocabulary does not have, a step that fails or a closed engine, GrammarError for
        a grammar that cannot be enforced, ConstraintError when it cannot be kept.
        """
        limit = self._room(prompt, sampling)
        if constraint is not None and constraint.table.size != self._vocab_size:
            raise EngineError(
                f"the constraint is over {constraint.table.size} ids and this model has {self._vocab_size}; "
                "make its Grammars with a TokenTable of this size"
            )
        with self._counted():
            guide = asyncio.create_task(asyncio.to_thread(Guide, constraint, limit)) if constraint else None
            request = Request(prompt, sampling, stop, limit, constraint)
            try:
                await self._work(self._open_scheduler().add, request)
                while True:
                    if constraint and guide and (constraint.is_compiled or not request.readable):
                        await self._work(request.follow, await guide)
                        guide = None
                    for token in await self._work(self._advance, request):
                        yield token
                        if token.finish_reason is not None:
                            return
            finally:
                request.cancelled = True
                if guide:
                    guide.cancel()

    async def aclose(self) -> None:
        """Release the model's memory once running generations have ended."""
        self._closing = True
        if self._running:
            await asyncio.wait([asyncio.wrap_future(ended) for ended in [*self._running]])
        self._scheduler = None
        self._worker.shutdown(wait=False)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Let `aclose` wait for the end of this generation."""
        if self._closing:
            raise EngineError("this engine is closed; load the model again")
        ended: Future[None] = Future()
        self._running.add(ended)
        try:
            yield
        finally:
            self._running.remove(ended)
            ended.set_result(None)

    def _advance(self, request: Request) -> list[GeneratedToken]:
        """What is new of a request; if nothing is, the model reads once. It may still be nothing then."""
        if not request.has_news:
            self._open_scheduler().step()
        return request.collect() if request.has_news else []

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

    def _open_scheduler(self) -> Scheduler:
        assert self._scheduler is not None, "closed while a generation runs"
        return self._scheduler

    async def _work(self, job: Callable[[*Args], T], *args: *Args) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, job, *args)


def _sequences(asked: int | None, device: torch.device) -> int:
    sequences = default_sequences(device) if asked is None else asked
    if not 1 <= sequences <= STEP_TOKENS:
        raise ValueError(f"max_sequences must be from 1 to {STEP_TOKENS}, not {sequences}")
    return sequences


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
