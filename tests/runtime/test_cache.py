"""The cache's memory stays bounded."""

import torch

from harmony.runtime.cache import FullLayer, SlidingLayer
from harmony.runtime.config import ModelConfig

CPU = torch.device("cpu")


def rows(config: ModelConfig, start: int, n: int) -> torch.Tensor:
    """Keys that tell their position."""
    positions = torch.arange(start, start + n, dtype=torch.float32)
    return positions[:, None, None].expand(n, config.num_key_value_heads, config.head_dim)


def seen(keys: torch.Tensor) -> list[float]:
    return keys[:, 0, 0].tolist()


def test_sliding_layer_keeps_the_window(config: ModelConfig) -> None:
    """After many tokens it shows and holds the last window, and no more."""
    layer = SlidingLayer(config, 4, torch.float32, CPU)
    for position in range(20):
        keys, values = layer.append(rows(config, position, 1), -rows(config, position, 1))
    assert seen(keys) == [16, 17, 18, 19]
    assert seen(values) == [-16, -17, -18, -19]
    assert layer._seen.untyped_storage().nbytes() <= 2 * 4 * config.kv_size * 4


def test_sliding_layer_takes_chunks(config: ModelConfig) -> None:
    """A chunk sees the window before its first token as well."""
    layer = SlidingLayer(config, 4, torch.float32, CPU)
    layer.append(rows(config, 0, 10), rows(config, 0, 10))
    keys, _ = layer.append(rows(config, 10, 3), rows(config, 10, 3))
    assert seen(keys) == [7, 8, 9, 10, 11, 12]


def test_full_layer_grows_up_to_the_context(config: ModelConfig) -> None:
    """It keeps every position while its buffer doubles, and never exceeds the context."""
    layer = FullLayer(config, 700, torch.float32, CPU)
    capacities = set()
    for position in range(0, 700, 7):
        keys, _ = layer.append(rows(config, position, 7), rows(config, position, 7))
        capacities.add(layer._buffer.shape[1])
    assert seen(keys) == list(range(700))
    assert capacities == {256, 512, 700}
