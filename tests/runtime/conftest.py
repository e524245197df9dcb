"""Small random checkpoints, written by our own writer, for every test of the runtime."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harmony.kernels.mxfp4 import quantize
from harmony.runtime.config import ModelConfig, alternating_layers
from harmony.runtime.export import save_checkpoint
from harmony.runtime.grammars import Grammars
from harmony.runtime.layout import TensorSpec, tensors
from harmony.runtime.model import Transformer
from harmony.runtime.token_table import TokenTable

os.environ.setdefault("TRITON_INTERPRET", "1")  # before a module of tests imports Triton

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are slower on several threads, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    """The published architecture, in every ratio that matters, at toy size."""
    return ModelConfig(
        num_hidden_layers=4,
        num_experts=8,
        experts_per_token=4,
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        head_dim=16,
        num_attention_heads=8,
        num_key_value_heads=2,
        sliding_window=128,
        layer_types=alternating_layers(4),
        max_context_length=131072,
    )


@pytest.fixture(scope="session")
def random_state() -> Callable[[ModelConfig], dict[str, Tensor]]:
    """Random weights, large enough that experts' activations pass the clamp of the SwiGLU."""

    def make_all(config: ModelConfig) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(7)
        experts: dict[str, Tensor] = {}

        def make(spec: TensorSpec) -> Tensor:
            if spec.packed and spec.name.endswith(".blocks"):
                values = torch.randn(*spec.shape[:-2], spec.shape[-2] * 32, generator=generator)
                blocks, experts[spec.name.removesuffix("blocks") + "scales"] = quantize(values * 0.3)
                return blocks
            if spec.packed:
                return experts[spec.name]
            values = torch.randn(spec.shape, generator=generator)
            kind = spec.name.rpartition(".")[2]
            spread = {"sinks": 2.0, "bias": 0.5, "mlp1_bias": 4.0}.get(kind, 0.2)
            return (values * spread + (kind == "scale")).bfloat16()

        return {spec.name: make(spec) for spec in tensors(config)}

    return make_all


@pytest.fixture(scope="session")
def state(config: ModelConfig, random_state: Callable[[ModelConfig], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Random weights of this model."""
    return random_state(config)


@pytest.fixture(scope="session")
def model(config: ModelConfig, state: dict[str, Tensor]) -> Transformer:
    """These weights in float32."""
    return Transformer(config, {k: v if v.dtype == torch.uint8 else v.float() for k, v in state.items()})


@pytest.fixture(scope="session")
def byte_grammars() -> Grammars:
    """Over a token for each byte and one for the end, within the model's vocabulary."""
    octets = {bytes([octet]): octet for octet in range(256)}
    return Grammars(TokenTable(octets, {"<|end|>": 256}, lambda text: [*text.encode()], 300, 256))


@pytest.fixture
def checkpoint(tmp_path: Path, config: ModelConfig, state: dict[str, Tensor]) -> Path:
    """A folder in the Hugging Face layout with one file."""
    save_checkpoint(tmp_path / "model", config, state)
    return tmp_path / "model"
