"""Which kernels compute a model, and what is said of it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harmony.kernels import cpu, triton
from harmony.runtime import backend
from harmony.runtime.backend import Model, build, describe, why_not_fused
from harmony.runtime.config import ModelConfig
from harmony.runtime.engine import Engine
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.generation import SamplingParams
from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
BF16, FLOAT32 = torch.bfloat16, torch.float32


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(triton.CHOICE, raising=False)


@pytest.mark.parametrize(
    ("device", "dtype", "installed", "forced", "reason"),
    [
        (GPU, BF16, True, None, None),
        (GPU, BF16, True, "triton", None),
        (GPU, BF16, True, "torch", "HARMONY_GPU_KERNELS is torch"),
        (GPU, BF16, False, None, "pip install triton"),
        (GPU, FLOAT32, True, None, "bfloat16, not torch.float32"),
        (CPU, BF16, True, None, "not on a GPU"),
        (CPU, FLOAT32, True, "interpreted", None),
    ],
)
def test_the_fused_kernels_run_where_they_can(
    device: torch.device,
    dtype: torch.dtype,
    installed: bool,
    forced: str | None,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU with Triton in bfloat16, unless the reference is asked for; else the reason is told."""
    monkeypatch.setattr(triton, "find_spec", lambda name: installed or None)
    if forced is not None:
        monkeypatch.setenv(triton.CHOICE, forced)
    told = why_not_fused(device, dtype)
    assert told is None if reason is None else reason in (told or "")


def test_a_model_says_what_computes_it(
    config: ModelConfig, state: Mapping[str, Tensor], model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fused one, that of the CPU's kernels, and the reference, each with its reason."""
    assert "reference on the CPU: its kernels compute bfloat16" in describe(model)
    half = build(config, state)
    assert isinstance(half, Transformer)
    assert f"{cpu.level()} kernels on the CPU" in describe(half)
    monkeypatch.setattr(backend.cpu, "level", lambda: "torch")
    assert "HARMONY_CPU_KERNELS is torch" in describe(half)
    monkeypatch.setenv(triton.CHOICE, "interpreted")
    fused = build(config, state)
    assert isinstance(fused, FusedTransformer)
    assert describe(fused) == "Triton kernels on cpu, interpreted"


def test_an_engine_on_the_fused_model_gives_the_references_tokens(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its loading to its tokens, greedily, in Triton's interpreter."""

    async def tokens() -> tuple[str, list[int]]:
        engine = Engine.load(checkpoint, "cpu", "float32", 500)
        sampling = SamplingParams(temperature=0, max_tokens=4)
        generated = [token.token async for token in engine.generate([5, 17, 290], sampling, stop=())]
        await engine.aclose()
        return engine.backend, generated

    reference, expected = asyncio.run(tokens())
    monkeypatch.setenv(triton.CHOICE, "interpreted")
    fused, ours = asyncio.run(tokens())
    assert (reference[:15], fused[:14]) == ("torch reference", "Triton kernels")
    assert ours == expected


def test_kernels_of_a_gpu_read_longer_chunks(
    config: ModelConfig, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of 2,500 tokens takes two steps, and five elsewhere; its next token is the same."""
    monkeypatch.setenv(triton.CHOICE, "torch")
    exact = {name: t if t.dtype == torch.uint8 else t.float() for name, t in state.items()}
    reads: list[int] = []

    async def next_token(model: Model) -> int:
        call = type(model).__call__

        def counted(self: Model, tokens: Tensor, batch: Batch) -> Tensor:
            reads.append(len(tokens))
            return call(self, tokens, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(type(model), "__call__", counted)
        engine = Engine(model, name="toy", context_length=2600, default_sampling=SamplingParams())
        sampling = SamplingParams(temperature=0, max_tokens=1)
        prompt = [number * 7 % 300 for number in range(2500)]
        [token] = [token.token async for token in engine.generate(prompt, sampling, stop=())]
        return token

    fused = asyncio.run(next_token(FusedTransformer(config, exact)))
    assert asyncio.run(next_token(Transformer(config, exact))) == fused
    assert reads == [2048, 452, *[512] * 4, 452]
