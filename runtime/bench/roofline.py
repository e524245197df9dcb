"""What a model must read and compute: the bounds that measurements stand beside.

Routing is taken as uniform; real routing is skewed, so a batch meets fewer experts than counted here.
Attention and tables are bfloat16, experts as the checkpoint has them.
"""

from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import tensors

BFLOAT16 = 2  # bytes


def experts_met(config: ModelConfig, batch: int) -> float:
    """How many different experts of a layer `batch` tokens are sent to, on average."""
    return config.num_experts * (1 - (1 - config.experts_per_token / config.num_experts) ** batch)


def weight_bytes(config: ModelConfig, batch: int = 1) -> int:
    """What a step that decodes `batch` tokens reads of the weights: all but rows of the embedding and the
    experts that no token is sent to."""
    share = experts_met(config, batch) / config.num_experts
    sizes = [
        spec.numel * (share if ".mlp.mlp" in spec.name else 1) * (1 if spec.packed else BFLOAT16)
        for spec in tensors(config)
        if config.tie_word_embeddings or spec.name != "embedding.weight"
    ]
    return round(sum(sizes))


def cache_bytes(config: ModelConfig, context: int) -> int:
    """What a token reads of the keys and values before it, `context` of them, and writes."""
    seen = sum(min(context, window) for window in _windows(config, context))
    return (seen + config.num_hidden_layers) * 2 * config.kv_size * BFLOAT16


def step_bytes(config: ModelConfig, batch: int, context: int) -> int:
    """What a step moves that decodes a token for each of `batch` sequences of `context` tokens."""
    return weight_bytes(config, batch) + batch * cache_bytes(config, context)


def linear_flops(config: ModelConfig) -> int:
    """Operations of one prompt token in the layers' products with weights."""
    active = sum(
        spec.numel * (config.experts_per_token / config.num_experts if ".mlp.mlp" in spec.name else 1)
        * (2 if spec.name.endswith("blocks") else 1)
        for spec in tensors(config)
        if spec.name.endswith(("blocks", "qkv.weight", "out.weight", "gate.weight"))
    )  # fmt: skip
    return round(2 * active)


def prefill_flops(config: ModelConfig, prompt: int) -> int:
    """Operations of each token of a prompt, attention to what is before it in the middle of the prompt."""
    seen = sum(min(prompt // 2, window) for window in _windows(config, prompt))
    return linear_flops(config) + 4 * config.attention_size * seen


def _windows(config: ModelConfig, limit: int) -> list[int]:
    """How far each layer sees, `limit` where there is no window."""
    windows = (config.window(layer) for layer in range(config.num_hidden_layers))
    return [limit if window is None else window for window in windows]
