"""llama.cpp on a random model of the same shape, for comparison; needs llama-cpp-python."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from harmony.runtime.config import ModelConfig

F32, Q8_0, BF16, MXFP4 = 0, 8, 30, 39  # types of tensors in a GGUF file
MATRICES = {"q8_0": Q8_0, "bf16": BF16}  # what attention and the tables are kept in
ALIGNMENT = 32
Shape = tuple[int, ...]


class LlamaCpp:
    """A model in llama.cpp that reads prompts and decodes, as `bench.Session` does."""

    name = "llama.cpp"

    def __init__(
        self, folder: Path, config: ModelConfig, threads: int, context: int, *, matrices: str = "q8_0"
    ) -> None:
        from llama_cpp import llama_cpp

        file = folder / f"random-{matrices}.gguf"
        if not file.exists():
            print(f"writing {file}", file=sys.stderr)
            unfinished = file.with_suffix(".part")
            write_gguf(unfinished, config, matrices)
            unfinished.rename(file)
        self._library = llama_cpp
        self._vocab = config.vocab_size
        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, 512, 512
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)

    def prefill(self, tokens: int) -> None:
        """Read a fresh prompt."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)
        prompt = torch.randint(0, self._vocab, (tokens,)).tolist()
        for start in range(0, tokens, 512):
            self._read(prompt[start : start + 512])

    def decode(self, tokens: int) -> None:
        """Go on with the most likely tokens."""
        for _ in range(tokens):
            logits = self._library.llama_get_logits(self._context)
            self._read([int(np.ctypeslib.as_array(logits, (self._vocab,)).argmax())])

    def _read(self, tokens: list[int]) -> None:
        given = (self._library.llama_token * len(tokens))(*tokens)
        status = self._library.llama_decode(
            self._context, self._library.llama_batch_get_one(given, len(tokens))
        )
        assert status == 0, status


def write_gguf(file: Path, config: ModelConfig, matrices: str = "q8_0") -> None:
    """Write random weights: experts in MXFP4, vectors and the router in float32, and the other matrices."""
    listed = list(_tensors(config, MATRICES[matrices]))
    fields = [_field(key, value) for key, value in metadata(config).items()]
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(fields)) + b"".join(fields)
    offset = 0
    for name, shape, kind in listed:
        header += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, offset)
        offset += -(-_size(shape, kind) // ALIGNMENT) * ALIGNMENT
    with file.open("wb") as out:
        out.write(header + bytes(-len(header) % ALIGNMENT))
        for _, shape, kind in listed:
            out.write(_random(shape, kind))
            out.write(bytes(-_size(shape, kind) % ALIGNMENT))


def _tensors(config: ModelConfig, matrix: int) -> Iterator[tuple[str, Shape, int]]:
    hidden, width, experts = config.hidden_size, config.intermediate_size, config.num_experts
    yield "token_embd.weight", (config.vocab_size, hidden), matrix
    yield "output.weight", (config.vocab_size, hidden), matrix
    yield "output_norm.weight", (hidden,), F32
    heads = {"q": config.attention_size, "k": config.kv_size, "v": config.kv_size}
    for layer in range(config.num_hidden_layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (hidden,), F32
        yield f"{block}.post_attention_norm.weight", (hidden,), F32
        yield f"{block}.attn_sinks.weight", (config.num_attention_heads,), F32
        for name, rows in heads.items():
            yield f"{block}.attn_{name}.weight", (rows, hidden), matrix
            yield f"{block}.attn_{name}.bias", (rows,), F32
        yield f"{block}.attn_output.weight", (hidden, config.attention_size), matrix
        yield f"{block}.attn_output.bias", (hidden,), F32
        yield f"{block}.ffn_gate_inp.weight", (experts, hidden), F32
        yield f"{block}.ffn_gate_inp.bias", (experts,), F32
        for name, rows, columns in (("gate", width, hidden), ("up", width, hidden), ("down", hidden, width)):
            yield f"{block}.ffn_{name}_exps.weight", (experts, rows, columns), MXFP4
            yield f"{block}.ffn_{name}_exps.bias", (experts, rows), F32


def metadata(config: ModelConfig) -> dict[str, int | float | str]:
    """What a GGUF file says of a model of this shape; it has no tokenizer."""
    ours: dict[str, int | float | str] = {
        "context_length": config.max_context_length,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "expert_feed_forward_length": config.intermediate_size,
        "expert_count": config.num_experts,
        "expert_used_count": config.experts_per_token,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.sliding_window": config.sliding_window,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_theta,
        "rope.dimension_count": config.head_dim,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": config.rope_scaling_factor,
        "rope.scaling.original_context_length": config.initial_context_length,
        "vocab_size": config.vocab_size,
    }
    return {"general.architecture": "gpt-oss", "tokenizer.ggml.model": "none"} | {
        f"gpt-oss.{key}": value for key, value in ours.items()
    }


def _field(key: str, value: int | float | str) -> bytes:
    if isinstance(value, str):
        return _string(key) + struct.pack("<I", 8) + _string(value)
    kind, form = (4, "<II") if isinstance(value, int) else (6, "<If")
    return _string(key) + struct.pack(form, kind, value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _size(shape: Shape, kind: int) -> int:
    count = int(np.prod(shape))
    return {F32: 4 * count, BF16: 2 * count, Q8_0: count // 32 * 34, MXFP4: count // 32 * 17}[kind]


def _random(shape: Shape, kind: int) -> bytes:
    """Blocks that begin with a small scale: a half-precision float in Q8_0, a power of two in MXFP4."""
    count = int(np.prod(shape))
    if kind == F32:
        return (torch.randn(count) * 0.02 + 1).numpy().tobytes()
    if kind == BF16:
        return (torch.randn(count) * 0.02).bfloat16().view(torch.uint8).numpy().tobytes()
    blocks = torch.randint(0, 256, (count // 32, _size((32,), kind)), dtype=torch.uint8)
    if kind == MXFP4:
        blocks[:, 0] = 118
    else:
        blocks[:, :2] = torch.tensor([2e-4], dtype=torch.float16).view(torch.uint8)
    return blocks.numpy().tobytes()
