"""The decode step: one token of each sequence is read, and the next one drawn, on the device.

Its input lies in tensors that stay where they are, for a power of two of sequences, so that a GPU can record
its launches once and replay them. Elsewhere the same code runs as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.kernels.unembedding import unembed_sample
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.paged import PagedCache, Part
from harmony.runtime.pages import PAGE
from harmony.runtime.rows import Places
from harmony.runtime.token_table import WORD, Mask

EVERYTHING = -1  # the word of a mask that allows all its tokens


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """How a token is drawn: its temperature, 0 for the likeliest, a seed, and the mask of a grammar."""

    temperature: float
    seed: int
    mask: Mask | None = None


class Decoder:
    """The decode steps of a model over a cache, one for each power of two of sequences."""

    def __init__(self, model: FusedTransformer, cache: PagedCache) -> None:
        self._model, self._cache = model, cache
        self._steps: dict[int, DecodeStep] = {}

    def read(self, parts: Sequence[Part]) -> "DecodeStep":
        """Begin to read the one token of each part; it is on its way when this returns."""
        size = 1 << (len(parts) - 1).bit_length()
        if size not in self._steps:
            self._steps[size] = DecodeStep(self._model, self._cache, size)
        self._steps[size].read(parts)
        return self._steps[size]


class DecodeStep:
    """A step of `size` sequences; where fewer are read the first one fills the other rows."""

    def __init__(self, model: FusedTransformer, cache: PagedCache, size: int) -> None:
        device, words = model.device, -(-model.config.vocab_size // WORD)
        self._model, self._layers, self._size = model, cache.layers, size
        self._tokens = Input((size,), torch.int64, device)
        self._positions = Input((size,), torch.int64, device)
        self._full = Input((size, cache.full.size), torch.int32, device)
        self._sliding = Input((size, cache.full.size), torch.int32, device)
        self._temperatures = Input((size,), torch.float32, device)
        self._seeds = Input((size,), torch.int64, device)
        self._masks = Input((size, words), torch.int32, device)
        self._tabled: list[tuple[object, ...]] = []
        self._masked = True
        self._hidden = Replayed(self._compute_hidden, device)
        self._drawn = Replayed(self._compute_drawn, device)

    def read(self, parts: Sequence[Part], *, drawn: bool = False) -> None:
        """Let the model read the one token of each part, or that which was `drawn` to come behind it."""
        parts = [*parts, *[parts[0]] * (self._size - len(parts))]
        if drawn:
            last = self._model.config.vocab_size - 1  # in place of none, where no logit is finite
            self._tokens.tensor.copy_(self._drawn.result.clamp(max=last))
        else:
            self._tokens.send([part.tokens[0] for part in parts])
        self._positions.send([part.start + drawn for part in parts])
        tabled = [part.sequence.tabled for part in parts]
        if tabled != self._tabled:
            self._full.send([part.sequence.full for part in parts])
            self._sliding.send([part.sequence.sliding for part in parts])
            self._tabled = tabled
        self._hidden()

    def draw(self, draws: Sequence[Draw]) -> "Drawn":
        """Begin to draw a token for each of the parts that were read last; other draws may follow."""
        padded = [*draws, *[draws[0]] * (self._size - len(draws))]
        self._temperatures.send([draw.temperature for draw in padded])
        self._seeds.send([draw.seed for draw in padded])
        masked = any(draw.mask is not None for draw in padded)
        if masked or self._masked:
            self._masks.send([EVERYTHING if d.mask is None else torch.as_tensor(d.mask) for d in padded])
            self._masked = masked
        return Drawn(self._drawn()[: len(draws)])

    @torch.inference_mode()
    def _compute_hidden(self) -> Tensor:
        tokens, positions = self._tokens.tensor, self._positions.tensor
        full, sliding = self._places(self._full.tensor), self._places(self._sliding.tensor)
        return self._model.hidden(tokens, positions, self._layers, full, sliding)

    def _places(self, table: Tensor) -> Places:
        positions = self._positions.tensor
        pages = table.gather(1, (positions // PAGE)[:, None])[:, 0]
        return Places((pages * PAGE + positions % PAGE).int(), table, (positions + 1).int())

    @torch.inference_mode()
    def _compute_drawn(self) -> Tensor:
        model, eps = self._model, self._model.config.rms_norm_eps
        draws = self._temperatures.tensor, self._seeds.tensor, self._masks.tensor
        return unembed_sample(self._hidden.result, model.norm, model.unembedding, *draws, eps=eps)


class Drawn:
    """Tokens int32 [n] on their way to the host."""

    def __init__(self, tokens: Tensor) -> None:
        self._event = torch.Event(tokens.device) if tokens.is_cuda else None
        self._tokens = torch.empty_like(tokens, device="cpu", pin_memory=tokens.is_cuda)
        self._tokens.copy_(tokens, non_blocking=True)
        if self._event is not None:
            self._event.record()

    def tokens(self) -> list[int]:
        """Wait for them, but not for what was begun after them."""
        if self._event is not None:
            self._event.synchronize()
        tokens: list[int] = self._tokens.tolist()
        return tokens


class Input:
    """A tensor that a graph reads, and two twins on the host, copied to it in turns without waiting.

    One may be on its way while the other is filled: a step is begun at most one ahead of that whose tokens
    are waited for.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self._twin, self._other = (
            torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda") for _ in range(2)
        )
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)

    def send(self, rows: Sequence[float | Sequence[int] | Tensor]) -> None:
        """Set each row to a number, or its beginning to numbers."""
        self._twin, self._other = self._other, self._twin
        for row, value in enumerate(rows):
            if isinstance(value, Sequence | Tensor):
                self._twin[row, : len(value)] = torch.as_tensor(value)
            else:
                self._twin[row] = value
        self.tensor.copy_(self._twin, non_blocking=True)


class Replayed:
    """A function of tensors that stay where they are: on a GPU a CUDA graph of its launches, else itself."""

    def __init__(self, run: Callable[[], Tensor], device: torch.device) -> None:
        self._run, self._captures = run, device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> Tensor:
        """Compute `result`, which the next call overwrites."""
        if not self._captures:
            self.result = self._run()
            return self.result
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        self._graph.replay()
        return self.result

    def _capture(self) -> None:
        self._run()  # compiles what it launches, which no graph can record
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.result = self._run()
