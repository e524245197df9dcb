"""Loading and writing checkpoints, and what is said of damaged ones."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harmony.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.export import save_checkpoint
from harmony.runtime.layout import tensors

CPU = torch.device("cpu")


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    return Checkpoint.open(folder).load(device=CPU, dtype=dtype)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a checkpoint's only file."""
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("layout", ["huggingface", "original"])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_what_is_written_is_loaded(
    layout: Literal["huggingface", "original"],
    shards: int,
    tmp_path: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
) -> None:
    """Every tensor comes back bit by bit, the packed ones packed, from any number of files."""
    save_checkpoint(tmp_path, config, state, layout=layout, shards=shards)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.config == config
    assert checkpoint.layout == layout
    loaded = load(tmp_path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("layout", ["huggingface", "original"])
def test_experts_stay_in_the_mapped_file(
    layout: Literal["huggingface", "original"], tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]
) -> None:
    """On a CPU their tensors lie where the file is mapped, and nothing is copied to the process's memory."""
    save_checkpoint(tmp_path, config, state, layout=layout)
    loaded = load(tmp_path)
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split()[0].split("-") for line in lines if line.endswith(f"{tmp_path}/model.safetensors")]
    for spec in tensors(config):
        if spec.packed:
            address = loaded[spec.name].data_ptr()
            assert any(int(start, 16) <= address < int(end, 16) for start, end in mapped), spec.name


def test_shards_are_out_of_order(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Several files are numbered from 0, and none holds a whole layer."""
    save_checkpoint(tmp_path, config, state, shards=3)
    first = load_file(tmp_path / "model-00000-of-00003.safetensors")
    layer = {part for spec in tensors(config) for part, _ in spec.huggingface if ".layers.0." in part}
    assert 0 < len(layer & first.keys()) < len(layer)


def test_published_sizes() -> None:
    """The table of tensors adds up to the published index total of the 20b model."""
    published = ModelConfig(
        num_hidden_layers=24,
        num_experts=32,
        experts_per_token=4,
        vocab_size=201088,
        hidden_size=2880,
        intermediate_size=2880,
        head_dim=64,
        num_attention_heads=64,
        num_key_value_heads=8,
        sliding_window=128,
        layer_types=("sliding_attention", "full_attention") * 12,
        max_context_length=131072,
    )
    specs = tensors(published)
    assert sum(spec.numel * (1 if spec.packed else 2) for spec in specs) == 13_761_264_768
    assert sum(len(spec.huggingface) for spec in specs) == 459


def test_original_sub_folder(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """A folder whose weights lie in original/ only is loaded from there."""
    save_checkpoint(tmp_path / "original", config, state, layout="original")
    (tmp_path / "config.json").write_text(json.dumps(config.to_huggingface()))
    assert Checkpoint.open(tmp_path).folder == tmp_path / "original"


def test_index_decides(checkpoint: Path) -> None:
    """Files that the index does not name, such as those of an older download, are not read."""
    shutil.copy(checkpoint / "model.safetensors", checkpoint / "model-00000-of-00001.safetensors")
    (checkpoint / "model.safetensors").write_bytes(b"an older file")
    names = load_file(checkpoint / "model-00000-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(names, "model-00000-of-00001.safetensors")}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(checkpoint)


def test_casts(checkpoint: Path, state: dict[str, Tensor]) -> None:
    """Float8, float16 and float32 tensors are cast to the dtype of the computation."""

    def narrow(weights: dict[str, Tensor]) -> None:
        weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].to(torch.float8_e4m3fn)
        weights["lm_head.weight"] = weights["lm_head.weight"].half()
        weights["model.norm.weight"] = weights["model.norm.weight"].float()

    rewrite(checkpoint, narrow)
    loaded = load(checkpoint)
    wanted = state["embedding.weight"].to(torch.float8_e4m3fn).bfloat16()
    assert torch.equal(loaded["embedding.weight"], wanted)
    assert torch.equal(loaded["unembedding.weight"], state["unembedding.weight"].half().bfloat16())
    assert torch.equal(loaded["norm.scale"], state["norm.scale"])
    assert load(checkpoint, torch.float32)["norm.scale"].dtype == torch.float32


def test_progress(checkpoint: Path, state: dict[str, Tensor]) -> None:
    """The callback hears growing byte counts, from 0 to the total."""
    heard: list[tuple[int, int]] = []
    Checkpoint.open(checkpoint).load(
        device=CPU, dtype=torch.bfloat16, progress=lambda done, total: heard.append((done, total))
    )
    total = sum(tensor.nbytes for tensor in state.values())
    assert heard == sorted(heard)
    assert (heard[0], heard[-1]) == ((0, total), (total, total))
    assert {whole for _, whole in heard} == {total}


def test_no_folder(tmp_path: Path) -> None:
    """A path that does not exist is no model."""
    with pytest.raises(ModelNotFoundError, match=r"no folder .*nowhere"):
        Checkpoint.open(tmp_path / "nowhere")


@pytest.mark.parametrize("left", ["config.json", "model.safetensors", None])
def test_folder_without_configuration_or_weights(left: str | None, checkpoint: Path) -> None:
    """Half a checkpoint, or an empty folder, says what must be there."""
    for path in checkpoint.iterdir():
        if path.name != left:
            path.unlink()
    with pytest.raises(CheckpointError, match=r"no config.json with .safetensors"):
        Checkpoint.open(checkpoint)


def test_truncated_file(checkpoint: Path) -> None:
    """A file cut off in the middle is named, before any tensor is read."""
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model.safetensors is truncated or damaged"):
        Checkpoint.open(checkpoint)


def test_truncated_shard(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Behind an index too, the file that is cut off is named."""
    save_checkpoint(tmp_path, config, state, shards=2)
    path = tmp_path / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="model-00001-of-00002"):
        load(tmp_path)


def test_missing_shard(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """A shard that the index names and the folder lacks is named."""
    save_checkpoint(tmp_path, config, state, shards=2)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002.*is missing"):
        Checkpoint.open(tmp_path)


def test_damaged_index(checkpoint: Path) -> None:
    """An index that is none is told as such."""
    (checkpoint / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"index.json is no index"):
        Checkpoint.open(checkpoint)


def test_index_that_lies(checkpoint: Path) -> None:
    """A tensor that is not in the file the index names is told with both."""
    names = load_file(checkpoint / "model.safetensors").keys()
    index = {"weight_map": dict.fromkeys(names, "model.safetensors")}
    rewrite(checkpoint, lambda weights: weights.pop("model.norm.weight"))
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model.safetensors lacks the tensor model.norm.weight"):
        load(checkpoint)


def test_missing_tensor(checkpoint: Path) -> None:
    """A tensor that no file holds is named."""
    rewrite(checkpoint, lambda weights: weights.pop("model.layers.2.self_attn.sinks"))
    with pytest.raises(CheckpointError, match=r"lacks the tensor model.layers.2.self_attn.sinks"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("model.norm.weight", torch.zeros(63, dtype=torch.bfloat16)),
        ("model.norm.weight", torch.zeros(64, dtype=torch.uint8)),
        ("model.norm.weight", torch.zeros(64, dtype=torch.float64)),
        ("model.layers.1.mlp.experts.down_proj_scales", torch.zeros(8, 64, 2, dtype=torch.uint8)),
        ("model.layers.1.mlp.experts.down_proj_scales", torch.zeros(8, 64, 3, dtype=torch.bfloat16)),
    ],
)
def test_wrong_shape_or_dtype(name: str, wrong: Tensor, checkpoint: Path) -> None:
    """Shape and dtype are told beside those that the configuration asks for, with file and tensor."""
    rewrite(checkpoint, lambda weights: weights.update({name: wrong}))
    with pytest.raises(CheckpointError, match=name) as refused:
        load(checkpoint)
    assert str(list(wrong.shape)) in str(refused.value)
    assert "model.safetensors" in str(refused.value)


def test_unquantised_experts(checkpoint: Path) -> None:
    """Experts in bfloat16, as transformers saves them by itself, are refused with a way out."""

    def unquantise(weights: dict[str, Tensor]) -> None:
        stem = "model.layers.0.mlp.experts.gate_up_proj"
        del weights[f"{stem}_blocks"], weights[f"{stem}_scales"]
        weights[stem] = torch.zeros(8, 64, 192, dtype=torch.bfloat16)

    rewrite(checkpoint, unquantise)
    with pytest.raises(UnsupportedModelError, match="gate_up_proj is not MXFP4"):
        load(checkpoint)


def test_writer_refuses_a_wrong_state(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Missing, left over and misshapen tensors never reach a file."""
    with pytest.raises(ValueError, match=r"differ in norm.scale"):
        save_checkpoint(tmp_path, config, {k: v for k, v in state.items() if k != "norm.scale"})
    with pytest.raises(ValueError, match="differ in extra"):
        save_checkpoint(tmp_path, config, {**state, "extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"norm.scale must be float \[64\]"):
        save_checkpoint(tmp_path, config, {**state, "norm.scale": torch.zeros(65)})
    name = "block.0.mlp.mlp1_weight.scales"
    with pytest.raises(ValueError, match="must be uint8"):
        save_checkpoint(tmp_path, config, {**state, name: state[name].float()})
    with pytest.raises(ValueError, match=r"differ in unembedding.weight"):
        save_checkpoint(tmp_path, replace(config, tie_word_embeddings=True), state)
    assert not list(tmp_path.iterdir())
