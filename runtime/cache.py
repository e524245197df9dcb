"""The keys and values of the tokens seen so far."""

import torch
from torch import Tensor

from harmony.kernels.attention import attention
from harmony.runtime.config import ModelConfig

FIRST_CAPACITY = 256


class SlidingLayer:
    """Keeps what the next query of a sliding layer can see, window - 1 positions, and no more."""

    def __init__(self, config: ModelConfig, window: int, dtype: torch.dtype, device: torch.device) -> None:
        self._window = window
        self._seen = torch.empty(
            2, 0, config.num_key_value_heads, config.head_dim, dtype=dtype, device=device
        )

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add `keys` and `values` [n, Hkv, D]; returns those visible to the n new queries [m, Hkv, D]."""
        visible = torch.cat((self._seen, torch.stack((keys, values))), dim=1)
        self._seen = visible[:, max(0, visible.shape[1] - self._window + 1) :]
        return visible[0], visible[1]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor) -> Tensor:
        """Add `keys` and `values` [n, Hkv, D]; returns what `queries` [n, Hq, D] find in the window."""
        return attention(queries, *self.append(keys, values), sinks, window=self._window)


class FullLayer:
    """Keeps all positions in one buffer, which doubles up to the context length as it fills."""

    def __init__(
        self, config: ModelConfig, context_length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._context_length = context_length
        self._length = 0
        self._buffer = torch.empty(
            2, 0, config.num_key_value_heads, config.head_dim, dtype=dtype, device=device
        )

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add `keys` and `values` [n, Hkv, D]; returns all so far [m, Hkv, D]."""
        start, self._length = self._length, self._length + len(keys)
        if self._length > self._buffer.shape[1]:
            self._grow()
        self._buffer[0, start : self._length] = keys
        self._buffer[1, start : self._length] = values
        return self._buffer[0, : self._length], self._buffer[1, : self._length]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor) -> Tensor:
        """Add `keys` and `values` [n, Hkv, D]; returns what `queries` [n, Hq, D] find in all of them."""
        return attention(queries, *self.append(keys, values), sinks)

    def _grow(self) -> None:
        capacity = min(max(FIRST_CAPACITY, 2 * self._buffer.shape[1], self._length), self._context_length)
        _, old, *heads = self._buffer.shape
        grown = self._buffer.new_empty(2, capacity, *heads)
        grown[:, :old] = self._buffer
        self._buffer = grown


class KVCache:
    """One sequence's cache: a layer for each of the model's, and how many tokens they have seen."""

    wanted = -1  # the row whose logits a step gives

    def __init__(
        self, config: ModelConfig, context_length: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.context_length = context_length
        self.length = 0
        self._device = device
        self.layers: list[SlidingLayer | FullLayer] = []
        for layer in range(config.num_hidden_layers):
            window = config.window(layer)
            self.layers.append(
                FullLayer(config, context_length, dtype, device)
                if window is None
                else SlidingLayer(config, window, dtype, device)
            )

    def extend(self, count: int) -> Tensor:
        """The positions of `count` tokens more."""
        start, self.length = self.length, self.length + count
        return torch.arange(start, self.length, device=self._device)
