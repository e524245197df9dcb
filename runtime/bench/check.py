"""Is the model that serves right? Against plain torch in float32, on random weights at real dimensions."""

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from harmony.kernels.triton import CHOICE
from harmony.runtime.backend import Model, build
from harmony.runtime.bench.shapes import random_state, repack
from harmony.runtime.bench.table import Row
from harmony.runtime.config import ModelConfig
from harmony.runtime.memory import GIB
from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.pages import pages_of

PROMPT, DECODED = 200, 8  # past the window, and past a page
ALLOWED = 2.0  # times the error of bfloat16 in plain torch


def check_rows(config: ModelConfig, device: torch.device) -> Iterator[Row]:
    """How far logits are from those of float32, of plain torch in bfloat16 and of the kernels.

    `value` of the last row is the median error of the kernels and `bound` the one allowed. Without a GPU the
    Triton kernels run in their interpreter, and this must be the first to import Triton.
    """
    tokens = torch.randint(
        0, config.vocab_size, (PROMPT + DECODED,), generator=torch.Generator().manual_seed(0)
    )
    state = random_state(config, device, torch.bfloat16, packed=False)
    exact = logits(Transformer(config, _in_float32(state)), tokens)
    plain = errors(exact, logits(Transformer(config, state), tokens))
    repack(state, [name for name in state if name.endswith(".scales")])
    if device.type != "cuda":
        os.environ |= {"TRITON_INTERPRET": "1", CHOICE: "interpreted"}
    found = logits(build(config, state), tokens)
    ours = errors(exact, found)
    yield Row("weights", sum(tensor.nbytes for tensor in state.values()) / GIB, "GiB")
    yield Row("error to float32, plain torch in bfloat16", plain.median().item())
    yield Row("error to float32, kernels, the worst", ours.max().item())
    yield Row("the same likeliest token", (found.argmax(-1) == exact.argmax(-1)).float().mean().item())
    yield Row(
        "error to float32, kernels", ours.median().item(), "", ALLOWED * plain.median().item(), less=True
    )


def logits(model: Model, tokens: Tensor) -> Tensor:
    """After each token float32 [n, V] on the host: a prompt is read at once, the last ones one by one."""
    pages = pages_of(len(tokens) + 1)
    cache = PagedCache(model.config, pages, pages, dtype=model.dtype, device=model.device)
    sequence = cache.open(tokens.tolist())
    assert sequence is not None
    found = []
    for piece in (tokens[:PROMPT], *torch.split(tokens[PROMPT:], 1)):
        assert sequence.extend(len(piece))
        read = Batch(cache, [Part(sequence, piece.tolist(), len(piece))])
        found.append(model(piece.to(model.device), read).cpu())
        sequence.advance(piece.tolist())
    return torch.cat(found)


def errors(exact: Tensor, found: Tensor) -> Tensor:
    """The length of the difference over that of `exact`, of each row."""
    relative: Tensor = torch.linalg.vector_norm(found - exact, dim=-1) / torch.linalg.vector_norm(
        exact, dim=-1
    )
    return relative


def _in_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
