"""The estimate of memory, and the refusal to load what does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from harmony.errors import NotEnoughMemoryError
from harmony.runtime import engine, memory
from harmony.runtime.bench.shapes import shape
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.engine import Engine
from harmony.runtime.memory import GIB, STEP_TOKENS, check_memory, default_sequences, estimate, free_memory
from harmony.runtime.streaming import BUFFER


def test_weights_are_counted_exactly(config: ModelConfig, state: dict[str, Tensor]) -> None:
    """The weights of the estimate are the bytes that loading takes."""
    assert estimate(config, 4096, torch.bfloat16).weights == sum(tensor.nbytes for tensor in state.values())


def test_cache_is_bounded_on_sliding_layers(config: ModelConfig) -> None:
    """Each further token costs keys and values on the two full layers alone."""
    longer, shorter = (estimate(config, n, torch.bfloat16).cache for n in (9216, 8192))
    assert longer - shorter == 1024 * 2 * 2 * config.kv_size * 2


def test_the_cache_is_counted_exactly(checkpoint: Path, config: ModelConfig) -> None:
    """The pages of the estimate are those that an engine has."""
    loaded = Engine.load(checkpoint, "cpu", context_length=700)
    assert loaded._scheduler is not None
    layers = loaded._scheduler._cache.layers
    taken = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    assert taken == estimate(config, 700, torch.bfloat16).cache


@pytest.mark.parametrize(
    ("layers", "experts", "on_host", "sequences", "parts", "limit", "fits"),
    [
        (24, 32, False, 128, (12.82, 3.94, 0.90), 16 * GIB, False),
        (24, 32, True, 128, (11.74, 3.94, 0.90), 16 * GIB, False),
        (24, 32, True, 63, (11.74, 3.56, 0.70), 16 * GIB, True),
        (24, 32, True, 16, (11.74, 3.28, 0.55), 16 * GIB, True),
        (36, 128, False, 128, (60.77, 5.91, 0.90), 80 * 10**9, True),
    ],
)
def test_the_published_models_fit(
    layers: int,
    experts: int,
    on_host: bool,
    sequences: int,
    parts: tuple[float, float, float],
    limit: int,
    fits: bool,
) -> None:
    """With all of their context: 120b in 80 GB, 20b in 16 GiB with its embedding on the host for fewer
    than 128 sequences."""
    needed = estimate(
        shape(layers, experts, 201088),
        131072,
        torch.bfloat16,
        max_sequences=sequences,
        packed=True,
        embedding_on_host=on_host,
    )
    found = needed.weights, needed.cache, needed.work
    assert tuple(round(part / GIB, 2) for part in found) == parts
    assert (needed.total < limit) == fits


@pytest.mark.parametrize("sequences", [1, 16, 40])
def test_an_engine_reads_as_many_sequences_as_asked(checkpoint: Path, sequences: int) -> None:
    """Its cache is that of the estimate for them; more than a step has tokens, or none, are refused."""
    loaded = Engine.load(checkpoint, "cpu", context_length=700, max_sequences=sequences)
    assert loaded._scheduler is not None
    layers = loaded._scheduler._cache.layers
    config = Checkpoint.open(checkpoint).config
    needed = estimate(config, 700, torch.bfloat16, max_sequences=sequences)
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) == needed.cache
    for wrong in (0, STEP_TOKENS + 1):
        with pytest.raises(ValueError, match="max_sequences must be from 1 to 512"):
            Engine.load(checkpoint, "cpu", max_sequences=wrong)


def test_a_gpu_reads_more_sequences() -> None:
    """128 together on CUDA, 16 on a CPU."""
    assert [default_sequences(torch.device(name)) for name in ("cuda", "cuda:1", "cpu")] == [128, 128, 16]


def test_loading_takes_no_more_than_what_comes_after() -> None:
    """The slices that are repacked find room where the cache and the work of a step will be."""
    needed = estimate(shape(24, 32, 201088), 1, torch.bfloat16, packed=True)
    assert needed.cache + needed.work > 2 * BUFFER


def test_repacked_weights_are_counted_exactly(checkpoint: Path, config: ModelConfig) -> None:
    """Half a group at the end of a row is filled up, and the embedding on the host is not counted."""
    loaded = Checkpoint.open(checkpoint).load(device=torch.device("cpu"), dtype=torch.bfloat16, packed=True)
    taken = sum(tensor.nbytes for tensor in loaded.values())
    whole = estimate(config, 4096, torch.bfloat16, packed=True)
    assert whole.weights == taken > estimate(config, 4096, torch.bfloat16).weights
    rest = estimate(config, 4096, torch.bfloat16, packed=True, embedding_on_host=True)
    assert whole.weights - rest.weights == loaded["embedding.weight"].nbytes


def test_refusal_advises_what_keeps_the_context() -> None:
    """A card of 16 GiB holds 20b with its whole context if the embedding is left out and at most so many
    sequences are read together; both are told, or the one that is enough."""

    def check(free: float, sequences: int, on_host: bool = False) -> None:
        model, room = shape(24, 32, 201088), int(free * GIB)
        options = {"packed": True, "embedding_on_host": on_host}
        check_memory(model, 131072, torch.bfloat16, room, "cuda", max_sequences=sequences, **options)

    both = r"16.00 GiB are free on cuda; load it with embedding_on_host=True .* and max_sequences=63 "
    with pytest.raises(NotEnoughMemoryError, match=both):
        check(16, 128)
    with pytest.raises(NotEnoughMemoryError, match=r"embedding_on_host=True \(--embedding-on-host\)$"):
        check(16, 16)
    with pytest.raises(NotEnoughMemoryError, match=r"max_sequences=63 \(--max-sequences 63\) or less$"):
        check(16, 128, on_host=True)
    check(16, 63, on_host=True)
    with pytest.raises(NotEnoughMemoryError, match=r"max_sequences=\d+ .*, or with embedding_on_host=True"):
        check(17, 128)
    with pytest.raises(NotEnoughMemoryError, match=r"context_length=\d+"):
        check(14, 16, on_host=True)


def test_refusal_tells_the_numbers(config: ModelConfig) -> None:
    """What is needed, of what parts, what is free, and a context that would fit."""
    needed = estimate(config, 131072, torch.float32, max_sequences=1)
    with pytest.raises(NotEnoughMemoryError, match=r"needs about [\d.]+ GiB .*cpu; .*context_length=") as e:
        check_memory(config, 131072, torch.float32, needed.total - 1, "cpu", max_sequences=1)
    fitting = int(str(e.value).rpartition("context_length=")[2].split()[0])
    assert estimate(config, fitting, torch.float32, max_sequences=1).total < needed.total
    check_memory(config, 131072, torch.float32, needed.total, "cpu", max_sequences=1)


def test_refusal_without_any_context(config: ModelConfig) -> None:
    """Where not even a short context fits, the advice is another machine or model."""
    with pytest.raises(NotEnoughMemoryError, match="smaller model"):
        check_memory(config, 131072, torch.float32, 1000, "cpu")


def test_engine_checks_before_it_loads(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory stops the loading before a tensor is read."""
    heard: list[int] = []
    monkeypatch.setattr(engine, "free_memory", lambda device: 1 << 20)
    with pytest.raises(NotEnoughMemoryError):
        Engine.load(checkpoint, "cpu", progress=lambda done, total: heard.append(done))
    assert heard == []


def test_free_memory_of_this_machine() -> None:
    """There is some, and not more than the machine has."""
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert 0 < free_memory(torch.device("cpu")) <= int(total.split()[1]) * 1024


def test_control_group_limits(tmp_path: Path) -> None:
    """The tightest limit of a group and those above it counts, page cache as free."""
    inner = tmp_path / "fs" / "outer" / "inner"
    inner.mkdir(parents=True)
    for group, limit, used, cached in ((inner, "max", 0, 0), (inner.parent, str(8 * GIB), 3 * GIB, GIB)):
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 5\nfile {cached}\n")
    membership = tmp_path / "cgroup"
    membership.write_text("1:cpu:/old\n0::/outer/inner\n")
    assert memory._group_room(membership, tmp_path / "fs") == 6 * GIB
    membership.write_text("0::/\n")
    assert memory._group_room(membership, tmp_path / "fs") == memory.NO_LIMIT
