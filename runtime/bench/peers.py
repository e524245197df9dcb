"""transformers as an engine, to be measured as ours is; a server is a `RemoteEngine` already."""

from collections.abc import AsyncGenerator, Collection, Sequence
from inspect import signature
from typing import Any

import torch

from harmony.errors import NotEnoughMemoryError
from harmony.runtime.config import ModelConfig
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.runtime.layout import tensors
from harmony.runtime.memory import GIB, free_memory

NOT_HERE = {"architectures", "quantization_config"}  # of a config whose experts are not packed
CHUNK = 256  # tokens of a prompt that it reads at once: its scores take memory for each of them


class Transformers:
    """GptOssForCausalLM with random weights in bfloat16, one sequence at a time, the likeliest token each.

    It takes no packed experts without kernels from the hub, so this is what `pip install transformers` gives.
    Raises NotEnoughMemoryError when its weights do not fit on the device.
    """

    name = "transformers"
    default_sampling = SamplingParams()

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        from transformers import GptOssConfig, GptOssForCausalLM

        needed, free = bfloat16_bytes(config), free_memory(device)
        if needed > free:
            raise NotEnoughMemoryError(
                f"transformers needs {needed / GIB:.1f} GiB for this model in bfloat16, and "
                f"{free / GIB:.1f} GiB are free on {device}; compare on the smaller shape"
            )
        self.context_length = config.max_context_length
        unpacked = {key: value for key, value in config.to_huggingface().items() if key not in NOT_HERE}
        architecture: Any = GptOssForCausalLM
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with device:
                self._model = architecture._from_config(
                    GptOssConfig.from_dict(unpacked), attn_implementation="eager"
                ).eval()
        finally:
            torch.set_default_dtype(before)
        takes = signature(self._model.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"  # before transformers 5.24
        self._device = device

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield the likeliest tokens, as many as `sampling` asks for."""
        from transformers import DynamicCache

        read = torch.tensor([prompt], device=self._device)
        cache = {self._cache_name: DynamicCache(config=self._model.config)}
        for _ in range(sampling.max_tokens or 0):
            with torch.inference_mode():
                for piece in torch.split(read, CHUNK, dim=1):
                    logits = self._model(piece, **cache, use_cache=True, logits_to_keep=1).logits
                read = logits[:, -1:].argmax(-1)
            yield GeneratedToken(int(read))

    async def aclose(self) -> None:
        """Release the model's memory."""
        self._model = None


def bfloat16_bytes(config: ModelConfig) -> int:
    """The model's weights with their experts unpacked."""
    return sum(
        2 * spec.numel * (2 if spec.name.endswith(".blocks") else 1)
        for spec in tensors(config)
        if not spec.name.endswith(".scales")
    )
