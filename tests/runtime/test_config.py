"""Both spellings of config.json, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmony.errors import CheckpointError, UnsupportedModelError
from harmony.runtime.config import ModelConfig, alternating_layers

PUBLISHED = ModelConfig(
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
    layer_types=alternating_layers(24),
    max_context_length=131072,
)
ORIGINAL = {
    "num_hidden_layers": 24,
    "num_experts": 32,
    "experts_per_token": 4,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "swiglu_limit": 7.0,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling_factor": 32.0,
    "rope_ntk_alpha": 1,
    "rope_ntk_beta": 32,
}
YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 4096,
    "truncate": False,
}
HUGGINGFACE = {
    "model_type": "gpt_oss",
    "attention_bias": True,
    "num_hidden_layers": 24,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "experts_per_token": 4,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "swiglu_limit": 7.0,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "layer_types": list(alternating_layers(24)),
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 150000,
    "rope_scaling": YARN,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
}


def read(folder: Path, raw: object) -> ModelConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(raw))
    return ModelConfig.read(path)


def transformers_5() -> dict[str, Any]:
    rest = {k: v for k, v in HUGGINGFACE.items() if k not in ("rope_scaling", "rope_theta")}
    return {**rest, "rope_parameters": {**YARN, "rope_theta": 150000.0}}


def without(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if k != key}


@pytest.mark.parametrize("raw", [ORIGINAL, HUGGINGFACE, transformers_5()])
def test_published_spellings(raw: dict[str, Any], tmp_path: Path) -> None:
    """The original config, the Hugging Face one and that of transformers 5 say the same."""
    assert read(tmp_path, raw) == PUBLISHED


@pytest.mark.parametrize(
    "config",
    [
        PUBLISHED,
        replace(PUBLISHED, tie_word_embeddings=True),
        replace(PUBLISHED, initial_context_length=128, max_context_length=4096),
    ],
)
def test_what_is_written_is_read(config: ModelConfig, tmp_path: Path) -> None:
    """Both spellings come back as they were written."""
    assert read(tmp_path, config.to_huggingface()) == config
    assert read(tmp_path, config.to_original()) == config


def test_windows_alternate() -> None:
    """Even layers see 128 keys, odd ones all."""
    assert [PUBLISHED.window(layer) for layer in range(4)] == [128, None, 128, None]


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": ("full_attention",) * 24},
        {"max_context_length": 4096},
        {"rms_norm_eps": 1e-6},
        {"swiglu_alpha": 1.0},
    ],
)
def test_original_cannot_say_everything(change: dict[str, Any]) -> None:
    """A pattern of layers or a context that original/config.json has no words for is refused."""
    with pytest.raises(UnsupportedModelError, match="Hugging Face layout"):
        replace(PUBLISHED, **change).to_original()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({**HUGGINGFACE, "model_type": "llama"}, "model_type 'llama'"),
        ({**HUGGINGFACE, "attention_bias": False}, "attention_bias"),
        ({**HUGGINGFACE, "hidden_act": "gelu"}, "hidden_act"),
        ({**HUGGINGFACE, "quantization_config": {"quant_method": "gptq"}}, "quant_method 'gptq'"),
        ({**HUGGINGFACE, "layer_types": ["linear_attention"] * 24}, "layer_types"),
        ({**HUGGINGFACE, "layer_types": ["full_attention"]}, "layer_types"),
        ({**HUGGINGFACE, "rope_scaling": {**YARN, "rope_type": "llama3"}}, "rope_type 'llama3'"),
        ({**HUGGINGFACE, "rope_scaling": {**YARN, "truncate": True}}, "truncate"),
        ({**HUGGINGFACE, "rope_scaling": without(YARN, "truncate")}, "truncate"),
        ({**HUGGINGFACE, "rope_scaling": {**YARN, "attention_factor": 2.0}}, "attention_factor"),
        ({**HUGGINGFACE, "hidden_size": 100}, "multiples of 32"),
        ({**HUGGINGFACE, "num_key_value_heads": 7}, "multiple of num_key_value_heads"),
        ({**ORIGINAL, "experts_per_token": 33}, "experts_per_token"),
    ],
)
def test_unsupported(raw: dict[str, Any], named: str, tmp_path: Path) -> None:
    """What this runtime does not compute is refused by name, in one line."""
    with pytest.raises(UnsupportedModelError, match=named) as refused:
        read(tmp_path, raw)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (without(ORIGINAL, "num_experts"), "num_experts must be a positive integer, but it is missing"),
        (without(HUGGINGFACE, "rope_scaling"), "rope_parameters must be an object, but it is missing"),
        ({**HUGGINGFACE, "rope_scaling": None}, "rope_parameters"),
        ({**HUGGINGFACE, "vocab_size": "many"}, "vocab_size must be a positive integer, not 'many'"),
        ({**HUGGINGFACE, "vocab_size": 0}, "vocab_size"),
        ({**HUGGINGFACE, "rope_theta": True}, "rope_theta must be a number"),
        ({**HUGGINGFACE, "tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
        ([], "no JSON object"),
    ],
)
def test_incomplete(raw: object, named: str, tmp_path: Path) -> None:
    """A missing or misspelt field is named with its file."""
    with pytest.raises(CheckpointError, match=named) as refused:
        read(tmp_path, raw)
    assert "config.json" in str(refused.value)


def test_no_json(tmp_path: Path) -> None:
    """A half-downloaded config.json is told as such."""
    (tmp_path / "config.json").write_text('{"model_type": "gpt_o')
    with pytest.raises(CheckpointError, match="download it again"):
        ModelConfig.read(tmp_path / "config.json")
