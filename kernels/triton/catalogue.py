"""Every kernel as it is launched for gpt-oss-20b, recorded from the functions that launch it."""

import torch

from harmony.kernels.packed import PackedMatrix
from harmony.kernels.triton.decode_attention import PAGE, decode_attention
from harmony.kernels.triton.dense_matvec import dense
from harmony.kernels.triton.embedding import embed
from harmony.kernels.triton.expert_gemm import gemm_down, gemm_up, schedule
from harmony.kernels.triton.expert_matvec import DOWN_ROWS, UP_ROWS, expert_down, expert_up
from harmony.kernels.triton.launch import Launch, recording
from harmony.kernels.triton.packing import pack
from harmony.kernels.triton.prefill_attention import prefill_attention
from harmony.kernels.triton.qkv import qkv
from harmony.kernels.triton.router import route
from harmony.kernels.triton.sampling import sample
from harmony.kernels.triton.unembedding import unembed_sample

HIDDEN = WIDTH = 2880
EXPERTS, TOP = 32, 4

# MXFP4 values that a thread decodes in one pass of the longest loop.
VALUES = {
    "expert_up": 4 * UP_ROWS * 9 * 64 / 128,
    "expert_up 8 tokens": 4 * UP_ROWS * 9 * 64 / 128,
    "expert_down": 4 * DOWN_ROWS * 9 * 64 / 128,
    "expert_down 8 tokens": 4 * DOWN_ROWS * 9 * 64 / 128,
}


def launches(backend: str) -> dict[str, Launch]:
    """One launch by name; the tensors lie on the meta device."""
    with torch.device("meta"), recording(backend) as record:
        names: list[str] = []

        def named(name: str) -> None:
            names.extend([name] * (len(record) - len(names)))

        pack(
            torch.empty(EXPERTS, HIDDEN, WIDTH // 32, 16, dtype=torch.uint8),
            torch.empty(EXPERTS, HIDDEN, WIDTH // 32, dtype=torch.uint8),
        )
        named("pack")
        up, down = matrix(2 * WIDTH, HIDDEN), matrix(HIDDEN, WIDTH)
        for suffix, n in (("", 1), (" 8 tokens", 8)):
            x = torch.empty(n, HIDDEN, dtype=torch.float16)
            ids, weights = torch.empty(n, TOP, dtype=torch.int32), torch.empty(n, TOP)
            activations = expert_up(x, ids, up, bias(2 * WIDTH), alpha=1.702, limit=7.0)
            named(f"expert_up{suffix}")
            expert_down(activations, ids, weights, down, bias(HIDDEN), torch.empty(n, HIDDEN))
            named(f"expert_down{suffix}")
        many, ids = torch.empty(2048, HIDDEN, dtype=torch.float16), torch.empty(2048, TOP, dtype=torch.int32)
        plan, weights = schedule(ids, EXPERTS), torch.empty(2048, TOP)
        activations = gemm_up(many, plan, TOP, up, bias(2 * WIDTH), alpha=1.702, limit=7.0)
        named("expert_gemm up")
        gemm_down(activations, plan, weights, down, bias(HIDDEN))
        named("expert_gemm down")
        embed(torch.empty(1, dtype=torch.int64), bf16(201088, HIDDEN))
        named("embedding")
        x, norm, cache = torch.empty(1, HIDDEN), torch.empty(HIDDEN), bf16(1024, 8, PAGE, 64)
        angles, slots = torch.empty(1, 32), torch.empty(1, dtype=torch.int32)
        qkv(x, norm, bf16(5120, HIDDEN), bf16(5120), angles, angles, slots, cache, cache)
        named("qkv")
        dense(bf16(1, 4096), bf16(HIDDEN, 4096), bf16(HIDDEN), residual=x)
        named("dense out")
        route(x, norm, bf16(EXPERTS, HIDDEN), bf16(EXPERTS), TOP)
        named("router")
        table, lengths = torch.empty(1, 1024, dtype=torch.int32), torch.empty(1, dtype=torch.int32)
        decode_attention(bf16(1, 64, 64), cache, cache, table, lengths, torch.empty(64), window=None)
        named("decode_attention")
        starts, chunk = torch.empty(2, dtype=torch.int32), bf16(2048, 64, 64)
        prefill_attention(
            chunk, cache, cache, table, starts, lengths, torch.empty(64), longest=2048, window=None
        )
        named("prefill_attention")
        seeds, mask = torch.empty(1, dtype=torch.int64), torch.empty(1, 6284, dtype=torch.int32)
        sample(torch.empty(1, 201088), torch.empty(1), seeds, mask)
        names.extend(["sample", "sample best"])
        unembed_sample(x, norm, bf16(201088, HIDDEN), torch.empty(1), seeds, mask)
        names.extend(["unembed_sample", "unembed_sample best"])
    return dict(zip(names, record, strict=True))


def matrix(rows: int, columns: int) -> PackedMatrix:
    groups = columns // 64
    words = torch.empty(EXPERTS, groups, rows, 8, dtype=torch.uint32)
    return PackedMatrix(words, torch.empty(EXPERTS, groups, rows, dtype=torch.uint16), rows, columns)


def bf16(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16)


def bias(rows: int) -> torch.Tensor:
    return bf16(EXPERTS, rows)
