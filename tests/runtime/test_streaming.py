"""Loading for a GPU: in slices, through two buffers, repacked; and how much memory that takes."""

import asyncio
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harmony.kernels.packed import PackedMatrix, pack, unpack
from harmony.runtime import checkpoint as checkpoints
from harmony.runtime import streaming
from harmony.runtime.bench.shapes import shape
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.engine import Engine
from harmony.runtime.export import save_checkpoint
from harmony.runtime.generation import SamplingParams
from harmony.runtime.layout import Part, tensors
from harmony.runtime.model import Transformer
from harmony.runtime.streaming import BUFFER, Staging

CPU, META = torch.device("cpu"), torch.device("meta")
MOST_BESIDES = 512 << 20  # bytes that loading may take beside the final tensors


class Ledger(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive but for `mapped`, and the most that ever were."""

    def __init__(self, mapped: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in mapped}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.live -= size


@settings(max_examples=60, deadline=None)
@given(
    experts=st.integers(1, 5),
    rows=st.integers(1, 9),
    blocks=st.integers(1, 5),
    size=st.integers(16, 4000),
    seed=st.integers(0, 2**31),
)
def test_repacking_by_slices_is_repacking(experts: int, rows: int, blocks: int, size: int, seed: int) -> None:
    """Whatever the buffers hold, less than a row of an expert or all of them, the words are the same."""
    random = torch.Generator().manual_seed(seed)
    stored = torch.randint(0, 256, (experts, rows, blocks, 16), dtype=torch.uint8, generator=random)
    scales = torch.randint(0, 256, (experts, rows, blocks), dtype=torch.uint8, generator=random)
    whole, sliced = pack(stored, scales), Staging(CPU, size).repack(stored, scales)
    assert torch.equal(sliced.words.view(torch.int32), whole.words.view(torch.int32))
    assert torch.equal(sliced.scales.view(torch.int16), whole.scales.view(torch.int16))
    assert (sliced.rows, sliced.columns) == (whole.rows, whole.columns)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    parts=st.integers(1, 3),
    size=st.integers(4, 200),
    turned=st.booleans(),
)
def test_pieces_are_put_where_they_belong(shape: list[int], parts: int, size: int, turned: bool) -> None:
    """Parts of any shape, contiguous or not, are joined and cast through buffers of any size."""
    pieces = [torch.randn(shape) + number for number in range(parts)]
    if turned:
        pieces = [piece.transpose(0, -1) for piece in pieces]
    wanted = torch.cat(pieces).bfloat16()
    assert torch.equal(Staging(CPU, size).place(pieces, torch.bfloat16), wanted)


@pytest.mark.parametrize("layout", ["huggingface", "original"])
@pytest.mark.parametrize("shards", [1, 7])
def test_a_packed_load_holds_the_checkpoint(
    layout: Literal["huggingface", "original"],
    shards: int,
    tmp_path: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through buffers smaller than most tensors, and from shards out of order, every bit arrives."""
    monkeypatch.setattr(checkpoints, "Staging", lambda device: Staging(device, 1000))
    save_checkpoint(tmp_path, config, state, layout=layout, shards=shards)
    heard: list[int] = []
    loaded = Checkpoint.open(tmp_path).load(
        device=CPU, dtype=torch.bfloat16, packed=True, progress=lambda done, total: heard.append(total - done)
    )
    assert heard[-1] == 0
    assert heard == sorted(heard, reverse=True)
    for spec in tensors(config):
        if not spec.packed:
            assert torch.equal(loaded.pop(spec.name), state[spec.name])
        elif spec.name.endswith(".blocks"):
            stem = spec.name.removesuffix(".blocks")
            words, scales = loaded.pop(f"{stem}.words"), loaded.pop(f"{stem}.scale_words")
            experts, rows, count, _ = spec.shape
            assert words.shape == (experts, -(-count // 2), rows, 8)
            again = unpack(PackedMatrix(words, scales, rows, 32 * count))
            assert torch.equal(again[0], state[f"{stem}.blocks"])
            assert torch.equal(again[1], state[f"{stem}.scales"])
    assert not loaded


def test_the_embedding_stays_on_the_host(
    checkpoint: Path, config: ModelConfig, state: dict[str, Tensor]
) -> None:
    """Rows of a table on the host reach the device of the other tensors, where the model is."""
    opened = Checkpoint.open(checkpoint)
    split = opened.load(device=META, dtype=torch.bfloat16, embedding_on_host=True)
    assert {name for name, tensor in split.items() if not tensor.is_meta} == {"embedding.weight"}
    assert torch.equal(split["embedding.weight"], state["embedding.weight"])
    model = Transformer(replace(config, num_hidden_layers=0, layer_types=()), split)  # meta has no unique()
    assert model.device == META
    logits = model(torch.tensor([1, 2, 3], device=CPU), model.new_cache(8))
    assert logits.is_meta
    assert logits.shape == (config.vocab_size,)


def test_a_tied_embedding_cannot_stay(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Where it is the unembedding too, the whole of it is read for every token."""
    tied = {name: tensor for name, tensor in state.items() if name != "unembedding.weight"}
    save_checkpoint(tmp_path, replace(config, tie_word_embeddings=True), tied)
    with pytest.raises(ValueError, match="without embedding_on_host"):
        Checkpoint.open(tmp_path).load(device=CPU, dtype=torch.bfloat16, embedding_on_host=True)


@pytest.fixture
def device_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pack` takes on a GPU: its result alone."""

    def taken(blocks: Tensor, scales: Tensor) -> PackedMatrix:
        experts, rows, count = scales.shape
        words = torch.empty(experts, -(-count // 2), rows, 8, dtype=torch.uint32, device=blocks.device)
        halves = torch.empty(words.shape[:-1], dtype=torch.uint16, device=blocks.device)
        return PackedMatrix(words, halves, rows, 32 * count)

    monkeypatch.setattr(streaming, "pack", taken)


@pytest.mark.usefixtures("device_pack")
@pytest.mark.parametrize("layout", ["huggingface", "original"])
def test_memory_beside_the_weights(
    layout: Literal["huggingface", "original"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tensors of gpt-oss-120b load in their final size and 512 MB, both buffers among them."""
    config = shape(2, 128, 201088)

    def stored(self: Checkpoint, part: Part, opened: Callable[[Path], object], *, packed: bool) -> Tensor:
        return mapped[part]

    monkeypatch.setattr(Checkpoint, "_read", stored)
    parts = [(part, spec.packed) for spec in tensors(config) for part in spec.parts(layout)]
    mapped = {
        part: torch.empty(part[1], dtype=torch.uint8 if packed else torch.bfloat16, device=META)
        for part, packed in parts
    }
    checkpoint = Checkpoint(Path(), config, {part[0]: Path() for part, _ in parts})
    with Ledger(mapped.values()) as ledger, META:
        state = checkpoint.load(device=META, dtype=torch.bfloat16, packed=True)
    final = sum(tensor.nbytes for tensor in state.values())
    assert final == sum(spec.nbytes(torch.bfloat16, repacked=True) for spec in tensors(config))
    assert ledger.live == final
    assert 2 * BUFFER <= ledger.peak - final < MOST_BESIDES


@pytest.mark.usefixtures("device_pack")
def test_memory_beside_the_largest_tensor() -> None:
    """The up projections of a layer of 120b, 1.1 GB, are repacked with less than 512 MB besides."""
    blocks = torch.empty(128, 5760, 90, 16, dtype=torch.uint8, device=META)
    scales = torch.empty(128, 5760, 90, dtype=torch.uint8, device=META)
    with Ledger([blocks, scales]) as ledger, META:
        matrix = Staging(META).repack(blocks, scales)
    final = matrix.words.nbytes + matrix.scales.nbytes
    assert final == blocks.nbytes + scales.nbytes
    assert 3 * BUFFER < ledger.peak - final <= 4 * BUFFER < MOST_BESIDES


def test_an_engine_on_a_cpu_takes_the_option(checkpoint: Path) -> None:
    """There the embedding is on the host in any case, and it counts."""
    plain, on_host = (Engine.load(checkpoint, "cpu", embedding_on_host=there) for there in (False, True))

    async def generated(engine: Engine) -> list[int]:
        sampling = SamplingParams(temperature=0, max_tokens=8)
        return [token.token async for token in engine.generate([1, 2, 3], sampling, stop=())]

    assert asyncio.run(generated(plain)) == asyncio.run(generated(on_host))
