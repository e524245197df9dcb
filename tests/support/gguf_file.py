"""A gpt-oss checkpoint and its vocabulary as a GGUF file, which llama.cpp reads; needs the gguf package.

Experts stay the MXFP4 that they are, in llama.cpp's order of bytes; all else is float32, and the two tables
float16, so that nothing of a bfloat16 checkpoint of ordinary size is rounded but in the tables.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import torch
from ggml import ggml_blocks
from torch import Tensor

from harmony.runtime.checkpoint import Checkpoint
from harmony.runtime.config import ModelConfig
from harmony.runtime.llama_cpp import metadata
from harmony.vocabulary import RETURN, SPECIAL_TOKENS, START_OF_TEXT, ordinary_tokens

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_LETTERS = {byte: chr(byte) for byte in _PRINTABLE} | {b: chr(256 + n) for n, b in enumerate(_OTHERS)}
"""GPT-2's letter for each byte, in which vocabularies are written down."""


def convert(folder: Path, file: Path) -> None:
    """Write the checkpoint in `folder` to `file`."""
    checkpoint = Checkpoint.open(folder)
    writer = gguf.GGUFWriter(file, "gpt-oss")
    for key, value in metadata(checkpoint.config).items():
        match value:
            case str():
                writer.add_string(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
    _add_vocabulary(writer, checkpoint.config.vocab_size)
    weights = checkpoint.load(device=torch.device("cpu"), dtype=torch.float32)
    for name, array in _tensors(checkpoint.config, weights):
        packed = gguf.GGMLQuantizationType.MXFP4 if array.dtype == np.uint8 else None
        writer.add_tensor(name, array, raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(config: ModelConfig, weights: dict[str, Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    table = weights["embedding.weight"]
    yield "token_embd.weight", table.half().numpy()
    yield "output.weight", weights.get("unembedding.weight", table).half().numpy()
    yield "output_norm.weight", weights["norm.scale"].numpy()
    sizes = [config.attention_size, config.kv_size, config.kv_size]
    for layer in range(config.num_hidden_layers):
        attention, experts = f"block.{layer}.attn", f"block.{layer}.mlp"
        for ours, theirs in (
            (f"{attention}.norm.scale", "attn_norm.weight"),
            (f"{attention}.sinks", "attn_sinks.weight"),
            (f"{attention}.out.weight", "attn_output.weight"),
            (f"{attention}.out.bias", "attn_output.bias"),
            (f"{experts}.norm.scale", "post_attention_norm.weight"),
            (f"{experts}.gate.weight", "ffn_gate_inp.weight"),
            (f"{experts}.gate.bias", "ffn_gate_inp.bias"),
            (f"{experts}.mlp2_bias", "ffn_down_exps.bias"),
        ):
            yield f"blk.{layer}.{theirs}", weights[ours].numpy()
        for kind in ("weight", "bias"):
            parts = weights[f"{attention}.qkv.{kind}"].split(sizes)
            for letter, part in zip("qkv", parts, strict=True):
                yield f"blk.{layer}.attn_{letter}.{kind}", part.numpy()
        yield f"blk.{layer}.ffn_down_exps.weight", _packed(weights, f"{experts}.mlp2_weight", slice(None))
        for first, name in enumerate(("gate", "up")):  # their rows take turns
            rows = slice(first, None, 2)
            yield f"blk.{layer}.ffn_{name}_exps.weight", _packed(weights, f"{experts}.mlp1_weight", rows)
            yield f"blk.{layer}.ffn_{name}_exps.bias", weights[f"{experts}.mlp1_bias"][:, rows].numpy()


def _packed(weights: dict[str, Tensor], name: str, rows: slice) -> np.ndarray:
    """[experts, rows, columns / 32 * 17] bytes."""
    blocks, scales = weights[f"{name}.blocks"][:, rows], weights[f"{name}.scales"][:, rows]
    return ggml_blocks(blocks, scales).flatten(-2).numpy()


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    ordinary = ordinary_tokens()
    special = list(SPECIAL_TOKENS)[: size - len(ordinary)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list([*map(_written, ordinary), *special])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(ordinary) + [gguf.TokenType.CONTROL] * len(special))
    writer.add_token_merges([" ".join(map(_written, pair)) for pair in _merges(ordinary)])
    writer.add_bos_token_id(START_OF_TEXT)
    writer.add_eos_token_id(RETURN)


def _written(token: bytes) -> str:
    return "".join(map(_LETTERS.__getitem__, token))


def _merges(tokens: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The two tokens that byte-pair encoding joins into each one, in order of rank."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    for rank, token in enumerate(tokens):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
            first = min(range(len(joined)), key=joined.__getitem__)
            parts[first : first + 2] = [parts[first] + parts[first + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]
