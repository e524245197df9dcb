"""A few rows by recorded kernels: the very logits of the model that calls each kernel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
import torch
from torch import Tensor

from harmony.kernels import cpu
from harmony.runtime.config import ModelConfig
from harmony.runtime.model import Transformer
from harmony.runtime.on_cpu import CpuTransformer
from harmony.runtime.paged import Batch, CachedSequence, PagedCache, Part

pytestmark = pytest.mark.skipif(cpu.level() == "torch", reason="the kernels of a CPU are off")


@dataclass
class Reader:
    """A model with a cache, which reads what it is told."""

    model: Transformer
    sequences: list[CachedSequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = PagedCache(self.model.config, 99, 99, dtype=torch.bfloat16, device=torch.device("cpu"))

    def open(self, tokens: list[int]) -> Tensor:
        sequence = self.cache.open(tokens)
        assert sequence is not None
        self.sequences.append(sequence)
        return self.read({len(self.sequences) - 1: tokens[len(sequence.tokens) :]})

    def read(self, news: Mapping[int, list[int]], kept: int = 100) -> Tensor:
        """Read the new tokens of some sequences, of which at most the first `kept` are right."""
        parts = []
        for number, tokens in news.items():
            assert self.sequences[number].extend(len(tokens))
            parts.append(Part(self.sequences[number], tokens, len(tokens)))
        tokens = torch.tensor([token for part in parts for token in part.tokens])
        logits: Tensor = self.model(tokens, Batch(self.cache, parts)).clone()
        for part in parts:
            part.sequence.advance(part.tokens[:kept])
        return logits


@pytest.fixture
def readers(
    config: ModelConfig, random_state: Callable[[ModelConfig], dict[str, Tensor]]
) -> tuple[Reader, Reader]:
    state = {name: t if t.dtype == torch.uint8 else t.bfloat16() for name, t in random_state(config).items()}
    return Reader(Transformer(config, state)), Reader(CpuTransformer(config, state))


def test_the_very_logits(readers: tuple[Reader, Reader]) -> None:
    """Of one row or many, of drafts that turn out wrong, past pages and the window, in any order."""
    random = Random(0)

    def tokens(count: int) -> list[int]:
        return random.choices(range(300), k=count)

    for length in (5, 60, 130):
        prompt = tokens(length)
        called, recorded = (reader.open(prompt) for reader in readers)
        assert torch.equal(called, recorded)
    for turn in range(120):
        numbers = random.sample(range(3), 1 + turn % 3)
        news = {number: tokens(random.choice((1, 1, 1, 4))) for number in numbers}
        called, recorded = (reader.read(news, kept=2) for reader in readers)
        assert torch.equal(called, recorded)


def test_another_cache(readers: tuple[Reader, Reader]) -> None:
    """What was recorded for one cache is not run on another."""
    model = readers[1].model
    for reader in (readers[1], Reader(model), readers[1]):
        reader.open([1, 2, 3])
        plain = Reader(readers[0].model)
        plain.open([1, 2, 3])
        assert torch.equal(reader.read({0: [4]}), plain.read({0: [4]}))
        reader.sequences.pop().close()
