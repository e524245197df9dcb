"""A model over several processes against the same model in one."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony.errors import ModelError
from harmony.runtime.bench.shapes import shape
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.export import save_checkpoint
from harmony.runtime.layout import Layout, tensors
from harmony.runtime.model import AttentionBlock, MoEBlock, Transformer
from harmony.runtime.models import TINY
from harmony.runtime.parallel import Shard

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
LENGTH = 150  # past the window
RandomState = Callable[[ModelConfig], dict[str, Tensor]]

PROGRAM = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from harmony.runtime.parallel import ParallelTransformer

folder, meeting, rank, ranks, dtype, out = sys.argv[1:]
torch.set_num_threads(1)
dist.init_process_group(
    "gloo", f"file://{meeting}", timedelta(seconds=100), rank=int(rank), world_size=int(ranks)
)
model = ParallelTransformer.load(folder, device=torch.device("cpu"), dtype=getattr(torch, dtype))
tokens = torch.load(f"{folder}/tokens.pt")
cache = model.new_cache(len(tokens))
pieces = [*tokens[:-2].split(64), *tokens[-2:].split(1)]
torch.save(torch.cat([model(piece, cache, all_positions=True) for piece in pieces]), out)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def uneven(config: ModelConfig) -> ModelConfig:
    """Three key heads, five blocks of 32 inside an expert, and a vocabulary that does not divide either."""
    return replace(
        config,
        num_key_value_heads=3,
        num_attention_heads=6,
        intermediate_size=160,
        vocab_size=301,
        num_hidden_layers=2,
        layer_types=config.layer_types[:2],
    )


def in_processes(folder: Path, ranks: int, dtype: str) -> list[Tensor]:
    """The logits of every position that each rank computes."""
    outs = [folder / f"{rank}.pt" for rank in range(ranks)]
    fixed = [str(folder), str(folder / "meeting")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *fixed, str(rank), str(ranks), dtype, str(out)],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * ranks, errors
    return [torch.load(out) for out in outs]


@pytest.mark.parametrize(
    ("ranks", "layout", "tied", "dtype"),
    [
        (2, "huggingface", False, "float32"),
        (3, "original", False, "float32"),
        (3, "huggingface", True, "bfloat16"),
    ],
)
def test_processes_compute_the_model(
    ranks: int,
    layout: Layout,
    tied: bool,
    dtype: str,
    tmp_path: Path,
    uneven: ModelConfig,
    random_state: RandomState,
) -> None:
    """Prompt and single tokens give the logits of one process, the same on each rank, whatever the split."""
    config = replace(uneven, tie_word_embeddings=tied)
    save_checkpoint(tmp_path, config, random_state(config), layout=layout, shards=2)
    tokens = torch.randint(0, config.vocab_size, (LENGTH,))
    torch.save(tokens, tmp_path / "tokens.pt")
    found = in_processes(tmp_path, ranks, dtype)
    state = Checkpoint.open(tmp_path).load(device=CPU, dtype=getattr(torch, dtype))
    model = Transformer(config, state)
    wanted = model(tokens, model.new_cache(LENGTH), all_positions=True)
    assert all(torch.equal(found[0], other) for other in found[1:])
    if dtype == "float32":
        torch.testing.assert_close(found[0], wanted, **CLOSE)
    else:  # sums of two roundings: compare the distributions
        ours, exact = found[0].log_softmax(-1), wanted.log_softmax(-1)
        assert (exact.exp() * (exact - ours)).sum(-1).median() < 0.05


@settings(max_examples=25, deadline=None)
@given(heads=st.integers(1, 5), queries=st.integers(1, 3), blocks=st.integers(1, 6), data=st.data())
def test_the_parts_of_a_block_add_up(heads: int, queries: int, blocks: int, data: st.DataObject) -> None:
    """For any heads, width and number of ranks, what the ranks find of a layer sums to what one does."""
    whole = replace(
        shape(1, 4, 16),
        hidden_size=32,
        head_dim=4,
        num_key_value_heads=heads,
        num_attention_heads=heads * queries,
        intermediate_size=32 * blocks,
        layer_types=("full_attention",),
    )
    ranks = data.draw(st.integers(1, min(heads, blocks)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    state = {
        spec.name: torch.randint(110, 140, spec.shape, dtype=torch.uint8, generator=generator)
        if spec.packed
        else torch.randn(spec.shape, generator=generator)
        for spec in tensors(whole)
    }
    x = torch.randn(3, 32, generator=generator)
    cos, sin = torch.randn(2, 3, 2, generator=generator)

    def blocks_of(config: ModelConfig, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        layer = Transformer(config, state).new_cache(8).layers[0]
        return AttentionBlock(config, state, 0)(x, cos, sin, layer), MoEBlock(config, state, 0)(x)

    shards = [Shard(whole, rank, ranks) for rank in range(ranks)]
    cut = [{name: torch.cat(shard.cut(name, [t])) for name, t in state.items()} for shard in shards]
    parts = [blocks_of(shard.config, one) for shard, one in zip(shards, cut, strict=True)]
    for part, expected in zip(zip(*parts, strict=True), blocks_of(whole, state), strict=True):
        largest = expected.abs().max()
        torch.testing.assert_close(sum(part) / largest, expected / largest, **CLOSE)
    rows = torch.cat([one["unembedding.weight"] for one in cut])
    assert torch.equal(rows, state["unembedding.weight"])


@pytest.mark.parametrize(
    ("ranks", "blocks", "heads"),
    [(2, [45, 45], [4, 4]), (3, [30, 30, 30], [3, 3, 2]), (4, [23, 23, 22, 22], [2] * 4)],
)
def test_the_published_model_is_cut_by_whole_blocks(ranks: int, blocks: list[int], heads: list[int]) -> None:
    """Every slice of 2880 is a multiple of 32."""
    configs = [Shard(shape(24, 32, 201088), rank, ranks).config for rank in range(ranks)]
    assert [config.intermediate_size for config in configs] == [32 * count for count in blocks]
    assert [config.num_key_value_heads for config in configs] == heads
    assert [config.num_attention_heads for config in configs] == [8 * count for count in heads]


@pytest.mark.parametrize(("rank", "ranks"), [(0, 9), (2, 2), (-1, 2)])
def test_too_many_ranks(rank: int, ranks: int) -> None:
    """A rank holds at least one key head."""
    with pytest.raises(ModelError, match="cut it over 1 to 8 devices"):
        Shard(shape(1, 4, 64), rank, ranks)


def test_the_program_of_the_documentation(tmp_path: Path) -> None:
    """Runs as it stands, over two processes and the bundled model."""
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text("utf-8")
    script = next(block.split("```")[0] for block in page.split("```bash\n") if "score.py" in block)
    beside = Path(sys.executable).parent
    environment = {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{beside}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-euc", script.replace("./gpt-oss-20b", str(TINY))],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the next token is ")
