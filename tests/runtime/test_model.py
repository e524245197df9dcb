"""The model against transformers' GptOssForCausalLM, in float32."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM

from harmony.kernels import moe
from harmony.kernels.mxfp4 import dequantize
from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.export import save_checkpoint
from harmony.runtime.model import Transformer

CLOSE = 1e-4
LENGTH = 300  # the sliding window of 128 is crossed twice


@pytest.fixture(scope="module")
def tokens(config: ModelConfig) -> Tensor:
    return torch.randint(0, config.vocab_size, (LENGTH,), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, config: ModelConfig, state: dict[str, Tensor]
) -> Path:
    """The same weights in the Hugging Face layout, for transformers to read."""
    folder = tmp_path_factory.mktemp("published")
    save_checkpoint(folder, config, state, shards=3)
    return folder


@pytest.fixture(scope="module")
def oracle(published: Path, tokens: Tensor) -> Tensor:
    """The logits that transformers computes at every position."""
    return oracle_logits(published, tokens)


def oracle_logits(folder: Path, tokens: Tensor) -> Tensor:
    config = GptOssConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    model = GptOssForCausalLM(config).float().eval()
    stored: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        stored |= load_file(file)
    weights = dict(unpacked(stored))
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        return model(tokens[None], use_cache=False).logits[0]


def unpacked(stored: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in stored.items():
        if name.endswith("_blocks"):
            stem = name.removesuffix("_blocks")
            yield stem, dequantize(tensor, stored[stem + "_scales"], torch.float32).transpose(1, 2)
        elif not name.endswith("_scales"):
            yield name, tensor.float()


def load(folder: Path) -> Transformer:
    checkpoint = Checkpoint.open(folder)
    return Transformer(checkpoint.config, checkpoint.load(device=torch.device("cpu"), dtype=torch.float32))


def farthest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("layout", ["huggingface", "original"])
@pytest.mark.parametrize("shards", [1, 3])
def test_logits_agree_with_transformers(
    layout: Literal["huggingface", "original"],
    shards: int,
    tmp_path: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    tokens: Tensor,
    oracle: Tensor,
) -> None:
    """Either layout, in one file or scattered over several, gives transformers' logits everywhere."""
    save_checkpoint(tmp_path, config, state, layout=layout, shards=shards)
    model = load(tmp_path)
    ours = model(tokens, model.new_cache(LENGTH), all_positions=True)
    assert farthest(ours, oracle) < CLOSE


def test_clamp_is_passed(
    published: Path, tokens: Tensor, config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above covers gates above the limit and up values beyond it on both sides."""
    seen: list[Tensor] = []

    def spy(x: Tensor, *, alpha: float, limit: float) -> Tensor:
        seen.append(x)
        return swiglu(x, alpha=alpha, limit=limit)

    swiglu = moe.swiglu
    monkeypatch.setattr(moe, "swiglu", spy)
    model = load(published)
    model(tokens, model.new_cache(LENGTH))
    hidden = torch.cat(seen)
    gate, up = hidden[:, 0::2], hidden[:, 1::2]
    for passed in (gate > config.swiglu_limit, up > config.swiglu_limit, up < -config.swiglu_limit):
        assert passed.float().mean() > 0.01


@pytest.mark.parametrize("chunk", [1, 7, 128, 129])
def test_chunks_and_decoding_agree_with_transformers(
    chunk: int, published: Path, tokens: Tensor, oracle: Tensor
) -> None:
    """Reading in chunks from the cache, down to one token at a time, changes no logits."""
    model = load(published)
    cache = model.new_cache(LENGTH)
    ours = [model(piece, cache, all_positions=True) for piece in tokens.split(chunk)]
    assert farthest(torch.cat(ours), oracle) < CLOSE
    assert cache.length == LENGTH


def test_last_position_alone(published: Path, tokens: Tensor, oracle: Tensor) -> None:
    """Without all_positions only the last position's logits come back."""
    model = load(published)
    assert farthest(model(tokens, model.new_cache(LENGTH)), oracle[-1]) < CLOSE


def test_tied_embedding(
    tmp_path: Path, config: ModelConfig, state: dict[str, Tensor], tokens: Tensor
) -> None:
    """A tied checkpoint stores no unembedding, and computes as transformers' tied model does."""
    tied = replace(config, tie_word_embeddings=True)
    weights = {name: tensor for name, tensor in state.items() if name != "unembedding.weight"}
    save_checkpoint(tmp_path, tied, weights)
    model = load(tmp_path)
    ours = model(tokens, model.new_cache(LENGTH), all_positions=True)
    assert farthest(ours, oracle_logits(tmp_path, tokens)) < CLOSE


def test_bfloat16_stays_near_float32(published: Path, tokens: Tensor, oracle: Tensor) -> None:
    """In bfloat16 the distributions stay close in Kullback-Leibler divergence."""
    checkpoint = Checkpoint.open(published)
    model = Transformer(checkpoint.config, checkpoint.load(device=torch.device("cpu"), dtype=torch.bfloat16))
    ours = model(tokens, model.new_cache(LENGTH), all_positions=True).log_softmax(-1)
    exact = oracle.log_softmax(-1)
    divergence = (exact.exp() * (exact - ours)).sum(-1)
    assert divergence.median() < 0.05
