"""The shape of a gpt-oss model, read from either published spelling of its config.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harmony.errors import CheckpointError, UnsupportedModelError

LayerType = Literal["sliding_attention", "full_attention"]
LAYER_TYPES: tuple[LayerType, LayerType] = ("sliding_attention", "full_attention")
ROPE_KEYS = {
    "rope_type",
    "rope_theta",
    "factor",
    "beta_fast",
    "beta_slow",
    "original_max_position_embeddings",
    "truncate",
}


def alternating_layers(count: int) -> tuple[LayerType, ...]:
    """The published pattern: even layers slide, odd layers see everything."""
    return tuple(LAYER_TYPES[layer % 2] for layer in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A gpt-oss architecture; fields are named as in original/config.json where that has them.

    `sliding_window` counts the keys that a query sees on a sliding layer, itself included.
    `rope_ntk_beta` and `rope_ntk_alpha` are YaRN's beta_fast and beta_slow; a `rope_scaling_factor`
    of 1 is plain RoPE. Raises UnsupportedModelError for sizes that this architecture cannot have.
    """

    num_hidden_layers: int
    num_experts: int
    experts_per_token: int
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    head_dim: int
    num_attention_heads: int
    num_key_value_heads: int
    sliding_window: int
    layer_types: tuple[LayerType, ...]
    max_context_length: int
    initial_context_length: int = 4096
    rope_theta: float = 150000.0
    rope_scaling_factor: float = 32.0
    rope_ntk_alpha: float = 1.0
    rope_ntk_beta: float = 32.0
    rms_norm_eps: float = 1e-5
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        in_order = {
            "hidden_size and intermediate_size must be multiples of 32": self.hidden_size % 32 == 0
            and self.intermediate_size % 32 == 0,
            "num_attention_heads must be a multiple of num_key_value_heads": self.num_attention_heads
            % self.num_key_value_heads
            == 0,
            "head_dim must be even": self.head_dim % 2 == 0,
            "experts_per_token must be at most num_experts": self.experts_per_token <= self.num_experts,
            "layer_types must name every layer": len(self.layer_types) == self.num_hidden_layers,
        }
        for rule, holds in in_order.items():
            if not holds:
                raise UnsupportedModelError(f"{rule}: {self}")

    @property
    def attention_size(self) -> int:
        """The width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """The width of all key heads together, and of all value heads."""
        return self.num_key_value_heads * self.head_dim

    def window(self, layer: int) -> int | None:
        """How many keys a query of this layer sees, itself included; None sees all before it."""
        return self.sliding_window if self.layer_types[layer] == "sliding_attention" else None

    @classmethod
    def read(cls, path: Path) -> "ModelConfig":
        """Read a config.json in the original or the Hugging Face spelling.

        Raises CheckpointError for a file that is no such config, UnsupportedModelError for another
        architecture, rope type or quantisation.
        """
        try:
            raw = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); download it again") from error
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path} holds no JSON object; download it again")
        fields = _Fields(raw, path)
        return _from_huggingface(fields) if is_huggingface(raw) else _from_original(fields)

    def to_original(self) -> dict[str, object]:
        """The keys of original/config.json, and `tie_word_embeddings` where it is set.

        Raises UnsupportedModelError for what that spelling cannot say.
        """
        sayable = replace(
            self,
            layer_types=alternating_layers(self.num_hidden_layers),
            max_context_length=int(self.initial_context_length * self.rope_scaling_factor),
            rms_norm_eps=1e-5,
            swiglu_alpha=1.702,
        )
        if self != sayable:
            raise UnsupportedModelError(
                "original/config.json has no words for layers that do not alternate, a context other than "
                "initial_context_length * rope_scaling_factor, or another norm eps or SwiGLU alpha; save in "
                "the Hugging Face layout"
            )
        tied: dict[str, object] = {"tie_word_embeddings": True} if self.tie_word_embeddings else {}
        return {
            "num_hidden_layers": self.num_hidden_layers,
            "num_experts": self.num_experts,
            "experts_per_token": self.experts_per_token,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "swiglu_limit": self.swiglu_limit,
            "head_dim": self.head_dim,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "sliding_window": self.sliding_window,
            "initial_context_length": self.initial_context_length,
            "rope_theta": self.rope_theta,
            "rope_scaling_factor": self.rope_scaling_factor,
            "rope_ntk_alpha": self.rope_ntk_alpha,
            "rope_ntk_beta": self.rope_ntk_beta,
            **tied,
        }

    def to_huggingface(self) -> dict[str, object]:
        """The keys of the Hugging Face config.json, with `rope_scaling` as published."""
        return {
            "architectures": ["GptOssForCausalLM"],
            "model_type": "gpt_oss",
            "attention_bias": True,
            "hidden_act": "silu",
            "num_hidden_layers": self.num_hidden_layers,
            "num_local_experts": self.num_experts,
            "num_experts_per_tok": self.experts_per_token,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "swiglu_alpha": self.swiglu_alpha,
            "swiglu_limit": self.swiglu_limit,
            "head_dim": self.head_dim,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "sliding_window": self.sliding_window,
            "layer_types": list(self.layer_types),
            "max_position_embeddings": self.max_context_length,
            "initial_context_length": self.initial_context_length,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": self.rope_scaling_factor,
                "beta_fast": self.rope_ntk_beta,
                "beta_slow": self.rope_ntk_alpha,
                "original_max_position_embeddings": self.initial_context_length,
                "truncate": False,
            },
            "tie_word_embeddings": self.tie_word_embeddings,
            "quantization_config": {
                "quant_method": "mxfp4",
                "modules_to_not_convert": [
                    "model.layers.*.self_attn",
                    "model.layers.*.mlp.router",
                    "model.embed_tokens",
                    "lm_head",
                ],
            },
        }


def is_huggingface(raw: Mapping[str, object]) -> bool:
    """Whether a config is in the Hugging Face spelling: only that one names its model_type."""
    return "model_type" in raw


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object whose values are checked as they are taken."""

    raw: Mapping[str, object]
    path: Path

    def number(self, key: str, default: float | None = None) -> float:
        value = self.raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        return float(value)

    def integer(self, key: str) -> int:
        value = self.raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(key, "a positive integer", value)
        return value

    def flag(self, key: str) -> bool:
        value = self.raw.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def section(self, *keys: str) -> "_Fields":
        for key in keys:
            value = self.raw.get(key)
            if isinstance(value, dict):
                return _Fields(value, self.path)
        raise self._wrong(keys[0], "an object", self.raw.get(keys[0]))

    def require(self, key: str, wanted: object, default: object) -> None:
        value = self.raw.get(key, default)
        if value != wanted:
            raise self.unsupported(f"{key} {value!r}", f"only {wanted!r}")

    def unsupported(self, found: str, computed: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{self.path} asks for {found}, and this runtime computes {computed}; use a gpt-oss checkpoint"
        )

    def _wrong(self, key: str, wanted: str, value: object) -> CheckpointError:
        found = f"not {value!r}" if key in self.raw else "but it is missing"
        return CheckpointError(f"{self.path}: {key} must be {wanted}, {found}; use a complete config.json")


def _from_original(fields: _Fields) -> ModelConfig:
    layers = fields.integer("num_hidden_layers")
    initial, factor = fields.integer("initial_context_length"), fields.number("rope_scaling_factor")
    return ModelConfig(
        num_hidden_layers=layers,
        num_experts=fields.integer("num_experts"),
        experts_per_token=fields.integer("experts_per_token"),
        vocab_size=fields.integer("vocab_size"),
        hidden_size=fields.integer("hidden_size"),
        intermediate_size=fields.integer("intermediate_size"),
        head_dim=fields.integer("head_dim"),
        num_attention_heads=fields.integer("num_attention_heads"),
        num_key_value_heads=fields.integer("num_key_value_heads"),
        sliding_window=fields.integer("sliding_window"),
        layer_types=alternating_layers(layers),
        max_context_length=int(initial * factor),
        initial_context_length=initial,
        rope_theta=fields.number("rope_theta"),
        rope_scaling_factor=factor,
        rope_ntk_alpha=fields.number("rope_ntk_alpha"),
        rope_ntk_beta=fields.number("rope_ntk_beta"),
        swiglu_limit=fields.number("swiglu_limit", 7.0),
        tie_word_embeddings=fields.flag("tie_word_embeddings"),
    )


def _from_huggingface(fields: _Fields) -> ModelConfig:
    fields.require("model_type", "gpt_oss", None)
    fields.require("attention_bias", True, True)
    fields.require("hidden_act", "silu", "silu")
    if fields.raw.get("quantization_config") is not None:
        fields.section("quantization_config").require("quant_method", "mxfp4", None)
    layers = fields.integer("num_hidden_layers")
    rope = fields.section("rope_parameters", "rope_scaling")
    _check_rope(rope)
    active = "num_experts_per_tok" if "num_experts_per_tok" in fields.raw else "experts_per_token"
    return ModelConfig(
        num_hidden_layers=layers,
        num_experts=fields.integer("num_local_experts"),
        experts_per_token=fields.integer(active),
        vocab_size=fields.integer("vocab_size"),
        hidden_size=fields.integer("hidden_size"),
        intermediate_size=fields.integer("intermediate_size"),
        head_dim=fields.integer("head_dim"),
        num_attention_heads=fields.integer("num_attention_heads"),
        num_key_value_heads=fields.integer("num_key_value_heads"),
        sliding_window=fields.integer("sliding_window"),
        layer_types=_layer_types(fields, layers),
        max_context_length=fields.integer("max_position_embeddings"),
        rope_theta=(rope if "rope_theta" in rope.raw else fields).number("rope_theta"),
        rms_norm_eps=fields.number("rms_norm_eps", 1e-5),
        swiglu_alpha=fields.number("swiglu_alpha", 1.702),
        swiglu_limit=fields.number("swiglu_limit", 7.0),
        tie_word_embeddings=fields.flag("tie_word_embeddings"),
        initial_context_length=rope.integer("original_max_position_embeddings"),
        rope_scaling_factor=rope.number("factor"),
        rope_ntk_alpha=rope.number("beta_slow", 1.0),
        rope_ntk_beta=rope.number("beta_fast", 32.0),
    )


def _check_rope(rope: _Fields) -> None:
    rope.require("rope_type", "yarn", None)
    rope.require("truncate", False, True)  # true is what transformers takes when it is left out
    others = {key: value for key, value in rope.raw.items() if key not in ROPE_KEYS and value is not None}
    if others:
        raise rope.unsupported(f"rope settings {others!r}", "none but those of YaRN in gpt-oss")


def _layer_types(fields: _Fields, layers: int) -> tuple[LayerType, ...]:
    named = fields.raw.get("layer_types")
    if named is None:
        return alternating_layers(layers)
    if not isinstance(named, list) or any(name not in LAYER_TYPES for name in named):
        raise fields.unsupported(f"layer_types {named!r}", f"only {' and '.join(LAYER_TYPES)}")
    return tuple(named)
