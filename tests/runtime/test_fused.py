"""The model in fused kernels against the one in torch, on the torch path of its kernels and in Triton's."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harmony.errors import UnsupportedModelError
from harmony.kernels import triton
from harmony.kernels.packed import pack
from harmony.kernels.triton.launch import recording
from harmony.runtime.config import ModelConfig, alternating_layers
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.layout import tensors
from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch, CachedSequence, PagedCache, Part

LEVELS = ("torch", "interpreted")


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state as a GPU's loader leaves it."""
    new = {name: tensor for name, tensor in state.items() if tensor.dtype != torch.uint8}
    for name in state:
        if name.endswith(".blocks"):
            stem = name.removesuffix(".blocks")
            matrix = pack(state[name], state[f"{stem}.scales"])
            new[f"{stem}.words"], new[f"{stem}.scale_words"] = matrix.words, matrix.scales
    return new


def random_state(config: ModelConfig) -> dict[str, Tensor]:
    """Weights of an uneven configuration, in float32."""
    generator = torch.Generator().manual_seed(5)

    def make(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("blocks"):
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if name.endswith("scales"):
            return torch.randint(121, 124, shape, dtype=torch.uint8, generator=generator)
        return torch.randn(shape, generator=generator) * 0.2 + name.endswith("norm.scale")

    return {spec.name: make(spec.name, spec.shape) for spec in tensors(config)}


@pytest.fixture(scope="module")
def uneven(config: ModelConfig) -> ModelConfig:
    """Half a group of columns, three query heads to a key head, a window within two pages, three of five."""
    return replace(
        config,
        num_hidden_layers=2,
        layer_types=alternating_layers(2),
        num_experts=5,
        experts_per_token=3,
        vocab_size=77,
        hidden_size=96,
        intermediate_size=160,
        num_attention_heads=6,
        sliding_window=70,
    )


class Twins:
    """Both models, each with its own cache and the same sequences."""

    def __init__(self, config: ModelConfig, state: dict[str, Tensor]) -> None:
        self.models = (Transformer(config, state), FusedTransformer(config, packed(state)))
        self.caches = [
            PagedCache(config, 24, 24, dtype=model.dtype, device=model.device) for model in self.models
        ]

    def open(self, tokens: list[int]) -> tuple[CachedSequence, ...]:
        sequences = [cache.open(tokens) for cache in self.caches]
        assert all(sequences)
        return tuple(sequence for sequence in sequences if sequence is not None)

    def step(self, *news: tuple[tuple[CachedSequence, ...], list[int], int]) -> tuple[Tensor, Tensor]:
        """Read new tokens of sequences; the logits after the last few of each, by either model."""
        logits = []
        for number, (model, cache) in enumerate(zip(self.models, self.caches, strict=True)):
            parts = [Part(both[number], tokens, wanted) for both, tokens, wanted in news]
            assert all(part.sequence.extend(len(part.tokens)) for part in parts)
            every = torch.tensor([token for part in parts for token in part.tokens])
            logits.append(model(every, Batch(cache, parts)))
            for part in parts:
                part.sequence.advance(part.tokens)
        return logits[0], logits[1]


def tokens(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 77, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def near(pair: tuple[Tensor, Tensor], level: str) -> bool:
    reference, fused = pair
    assert reference.shape == fused.shape
    return float((reference - fused).norm() / reference.norm()) < (2e-3 if level == "interpreted" else 1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_steps_agree_with_the_reference(
    level: str, uneven: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt in chunks, others beside it, then one token each, a draft, and a hit of the prefix cache."""
    monkeypatch.setenv(triton.CHOICE, level)
    twins = Twins(uneven, random_state(uneven))
    long, short = tokens(150), tokens(5, seed=1)
    first, second = twins.open(long), twins.open(short)
    assert near(twins.step((first, long[:90], 1)), level)
    assert near(twins.step((first, long[90:], 1), (second, short, 5)), level)
    assert near(twins.step((second, tokens(1, seed=2), 1), (first, tokens(1, seed=3), 1)), level)
    assert near(twins.step((first, tokens(9, seed=4), 9)), level)
    for sequence in first:
        sequence.close()
    again = twins.open([*long, 1, 2, 3])
    assert [len(sequence.tokens) for sequence in again] == [150, 150]
    assert near(twins.step((again, [1, 2], 2), (second, tokens(20, seed=5), 1)), level)
    many = [twins.open([seed, seed]) for seed in range(10)]
    assert near(twins.step(*((one, [3, 4], 2) for one in many)), level)


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_wanted_of_the_beginning(
    level: str, uneven: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is not a prompt's last gives no logits."""
    monkeypatch.setenv(triton.CHOICE, level)
    twins = Twins(uneven, random_state(uneven))
    for logits in twins.step((twins.open(tokens(60)), tokens(30), 0)):
        assert logits.shape == (0, 77)


@pytest.mark.parametrize("rows", [1, 8])
def test_few_rows_take_six_launches_a_layer(
    rows: int, uneven: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And two more: for the rows of the embedding, and for the logits."""
    monkeypatch.setenv(triton.CHOICE, "interpreted")
    twins = Twins(uneven, random_state(uneven))
    (_, fused), (_, cache) = twins.models, twins.caches
    parts = []
    for number in range(rows):
        sequence = cache.open([number, 0])
        assert sequence is not None
        assert sequence.extend(1)
        parts.append(Part(sequence, [number], 1))
    with recording("cuda") as launches:
        fused(torch.arange(rows), Batch(cache, parts))
    assert len(launches) == 6 * uneven.num_hidden_layers + 2


def test_tied_embeddings(uneven: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding is the last matrix too."""
    monkeypatch.setenv(triton.CHOICE, "torch")
    tied = replace(uneven, tie_word_embeddings=True)
    twins = Twins(tied, random_state(tied))
    assert near(twins.step((twins.open(tokens(9)), tokens(9), 1)), "torch")


def test_the_reference_reads_packed_experts(uneven: ModelConfig) -> None:
    """A state that was packed for a GPU gives the reference's very logits."""
    state, prompt = random_state(uneven), torch.tensor(tokens(9))
    plain, unpacking = Transformer(uneven, state), Transformer(uneven, packed(state))
    assert torch.equal(plain(prompt, plain.new_cache(9)), unpacking(prompt, unpacking.new_cache(9)))


def test_too_large_a_norm_is_refused(uneven: ModelConfig) -> None:
    """Float16 could not hold what its experts read; the error names the tensor and the way out."""
    state = random_state(uneven)
    state["block.1.mlp.norm.scale"][3] = -7000.0
    with pytest.raises(UnsupportedModelError, match=r"block\.1\.mlp\.norm\.scale reaches 7000.*=torch"):
        FusedTransformer(uneven, packed(state))
