"""Every kernel with inputs of a model's sizes, its exact result, and the bytes that it must move.

Weights are random. They lie in memory several times where one copy would stay in the device's cache, and
each step of a measurement takes the next copy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from harmony.kernels import packed
from harmony.kernels.attention import attention
from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.packed import PackedMatrix
from harmony.kernels.rms_norm import rms_norm
from harmony.kernels.rope import rotate, rotation
from harmony.kernels.swiglu import swiglu
from harmony.kernels.triton.decode_attention import PAGE, decode_attention
from harmony.kernels.triton.dense_matvec import dense
from harmony.kernels.triton.embedding import embed
from harmony.kernels.triton.expert_gemm import gemm_down, gemm_up, schedule
from harmony.kernels.triton.expert_matvec import MOST_TOKENS, expert_down, expert_up
from harmony.kernels.triton.packing import pack
from harmony.kernels.triton.prefill_attention import prefill_attention
from harmony.kernels.triton.qkv import qkv
from harmony.kernels.triton.router import route
from harmony.kernels.triton.sampling import sample
from harmony.kernels.triton.unembedding import unembed_sample

EPS = 1e-5
BFLOAT16, FLOAT16, FLOAT32 = 2**-8, 2**-10, 2**-14  # relative errors of sums of products of these types


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a model, the positions that attention sees, and how many bytes outgrow the cache."""

    name: str
    experts: int
    hidden: int = 2880
    width: int = 2880
    top: int = 4
    heads: int = 64
    kv_heads: int = 8
    head_dim: int = 64
    vocabulary: int = 201088
    window: int = 128
    context: int = 8192
    chunk: int = 2048
    packed_experts: int = 8
    outgrown: int = 256 << 20

    def copies(self, tensor_bytes: int) -> int:
        return max(1, -(-self.outgrown // tensor_bytes))


GPT_OSS_20B = Sizes("20b", experts=32)
GPT_OSS_120B = Sizes("120b", experts=128)
SMALL = Sizes(
    "small",
    experts=6,
    hidden=96,
    width=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    vocabulary=300,
    window=70,
    context=150,
    chunk=20,
    packed_experts=2,
    outgrown=0,
)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One kernel on one input.

    `run` takes the number of a step; `exact` is what step 0 returns, in float64 (norms and attention in
    float32), and `allowed` the relative error. `moved` bytes are read or written and `operations` computed
    in one step; `decodes` says that a decoder runs it once a layer.
    """

    run: Callable[[int], Tensor]
    exact: Callable[[], Tensor]
    allowed: float
    moved: int
    operations: int = 0
    decodes: bool = False

    def error(self) -> float:
        """The error of step 0, relative to the norm of the exact result."""
        exact = self.exact()
        return float((self.run(0).double() - exact).norm() / exact.norm())


def cases(sizes: Sizes, batch: int) -> Mapping[str, Callable[[], Case]]:
    """The kernels that run for `batch` sequences, by name; each is made when called, on torch's device."""
    few = {
        "expert_up": partial(up, batch, sizes),
        "expert_down": partial(down, batch, sizes),
    }
    many = {
        "expert_gemm up": partial(grouped_up, batch, sizes),
        "expert_gemm down": partial(grouped_down, batch, sizes),
    }
    any_number = {
        "embedding": partial(rows, batch, sizes),
        "qkv": partial(queries, batch, sizes),
        "dense out": partial(out, batch, sizes),
        "router": partial(router, batch, sizes),
        "decode attention": partial(decode, batch, sizes, None),
        "decode attention, window": partial(decode, batch, sizes, sizes.window),
        "sample": partial(draw, batch, sizes),
        "unembed_sample": partial(unembed, batch, sizes),
    }
    alone = {
        "repack": partial(repack, sizes),
        "prefill attention": partial(prefill, sizes, None),
        "prefill attention, window": partial(prefill, sizes, sizes.window),
        "prefill expert_gemm up": partial(grouped_up, sizes.chunk, sizes, decodes=False),
        "prefill expert_gemm down": partial(grouped_down, sizes.chunk, sizes, decodes=False),
    }
    return (alone if batch == 1 else {}) | (few if batch <= MOST_TOKENS else many) | any_number


def bf16(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.bfloat16)


def weights(rows: int, columns: int, sizes: Sizes) -> Tensor:
    """As many copies of a matrix as outgrow the cache: bfloat16 [copies, rows, columns]."""
    copies = torch.randn(sizes.copies(2 * rows * columns), rows, columns, dtype=torch.bfloat16)
    return copies.mul_(columns**-0.5)


def repack(sizes: Sizes) -> Case:
    experts, rows, blocks = sizes.packed_experts, 2 * sizes.width, sizes.hidden // 32
    source = torch.randint(0, 256, (experts, rows, blocks, 16), dtype=torch.uint8)
    scales = torch.randint(0, 256, (experts, rows, blocks), dtype=torch.uint8)

    def exact() -> Tensor:
        matrix = packed.pack(source.cpu(), scales.cpu())
        words, both = matrix.words.view(torch.int32), matrix.scales.view(torch.int16)
        return torch.cat((words.flatten(), both.flatten())).double().to(source.device)

    def run(step: int) -> Tensor:
        matrix = pack(source, scales)
        if step:
            return matrix.words
        words, both = matrix.words.view(torch.int32), matrix.scales.view(torch.int16)
        return torch.cat((words.flatten(), both.flatten()))

    return Case(run, exact, 0.0, 2 * (source.numel() + scales.numel()))


def rows(batch: int, sizes: Sizes) -> Case:
    """Out of the memory of the host, where there is a device."""
    table, tokens = bf16(sizes.vocabulary, sizes.hidden), torch.randint(sizes.vocabulary, (batch,))
    if tokens.is_cuda:
        table = table.cpu().pin_memory()

    def exact() -> Tensor:
        return table[tokens.to(table.device)].double().to(tokens.device)

    return Case(lambda step: embed(tokens, table), exact, 0.0, 6 * batch * sizes.hidden)


def queries(batch: int, sizes: Sizes) -> Case:
    heads, kv_heads, dim = sizes.heads, sizes.kv_heads, sizes.head_dim
    rows = (heads + 2 * kv_heads) * dim
    matrix, bias = weights(rows, sizes.hidden, sizes), bf16(rows)
    x, norm = torch.randn(batch, sizes.hidden), torch.rand(sizes.hidden)
    cos, sin = rotation(torch.arange(batch) * 1000, torch.logspace(0, -5, dim // 2), 1.3)
    keys, values, table = paged(batch, sizes)
    slots = table[:, 0] * PAGE + torch.arange(batch, dtype=torch.int32) % PAGE

    def run(step: int) -> Tensor:
        q = qkv(x, norm, matrix[step % len(matrix)], bias, cos, sin, slots, keys, values, eps=EPS)
        if step:
            return q
        page, row = slots // PAGE, slots % PAGE
        return torch.cat((q, keys[page, :, row], values[page, :, row]), dim=1)

    def exact() -> Tensor:
        products = rms_norm(x.double(), norm.double(), EPS) @ matrix[0].double().T + bias.double()
        turned, kept = products.view(batch, -1, dim).split((heads + kv_heads, kv_heads), dim=1)
        return torch.cat((rotate(turned, cos, sin), kept), dim=1)

    moved = 2 * rows * sizes.hidden + batch * (4 * sizes.hidden + 2 * rows)
    return Case(run, exact, BFLOAT16, moved, 2 * batch * rows * sizes.hidden, decodes=True)


def out(batch: int, sizes: Sizes) -> Case:
    rows, columns = sizes.hidden, sizes.heads * sizes.head_dim
    matrix, bias = weights(rows, columns, sizes), bf16(rows)
    x, residual = bf16(batch, columns), torch.randn(batch, rows)

    def run(step: int) -> Tensor:
        return dense(x, matrix[step % len(matrix)], bias, residual=residual)

    def exact() -> Tensor:
        return x.double() @ matrix[0].double().T + bias.double() + residual.double()

    moved = 2 * rows * columns + batch * (2 * columns + 8 * rows)
    return Case(run, exact, BFLOAT16, moved, 2 * batch * rows * columns, decodes=True)


def router(batch: int, sizes: Sizes) -> Case:
    matrix, bias = weights(sizes.experts, sizes.hidden, sizes), bf16(sizes.experts)
    x, norm = torch.randn(batch, sizes.hidden), torch.rand(sizes.hidden)

    def run(step: int) -> Tensor:
        _, share, ids = route(x, norm, matrix[step % len(matrix)], bias, sizes.top, eps=EPS)
        return share if step else torch.cat((share, ids), dim=1)

    def exact() -> Tensor:
        logits = rms_norm(x.double(), norm.double(), EPS) @ matrix[0].double().T + bias.double()
        best, ids = logits.topk(sizes.top)
        return torch.cat((best.softmax(-1), ids), dim=1)

    moved = 2 * sizes.experts * sizes.hidden + batch * (6 * sizes.hidden + 8 * sizes.top)
    return Case(run, exact, FLOAT32, moved, 2 * batch * sizes.experts * sizes.hidden, decodes=True)


def experts_matrix(rows: int, columns: int, sizes: Sizes) -> PackedMatrix:
    """Random codes under scales that keep products near one."""
    blocks = torch.randint(0, 256, (sizes.experts, rows, columns // 32, 16), dtype=torch.uint8)
    return pack(blocks, torch.randint(119, 122, blocks.shape[:3], dtype=torch.uint8))


def values(matrix: PackedMatrix, expert: int) -> Tensor:
    """One expert's matrix in float64 [rows, columns]."""
    words, scales = matrix.words[expert : expert + 1], matrix.scales[expert : expert + 1]
    alone = PackedMatrix(words, scales, matrix.rows, matrix.columns)
    return dequantize(*packed.unpack(alone), torch.float32)[0].double()


def exact_experts(x: Tensor, ids: Tensor, matrix: PackedMatrix, bias: Tensor) -> Tensor:
    """The products of each pair of token and expert: `x` [n, top, columns] to float64 [n, top, rows]."""
    out = torch.empty(*ids.shape, matrix.rows, dtype=torch.float64)
    for expert in ids.unique().tolist():
        chosen = ids == expert
        out[chosen] = x[chosen].double() @ values(matrix, expert).T + bias[expert].double()
    return out


def choices(batch: int, sizes: Sizes) -> Tensor:
    """The experts of each token in each of 16 steps, uniform: int32 [16, batch, top].

    One token alone takes the experts in turn, so that none of them is in the cache.
    """
    if batch == 1:
        return (torch.arange(16 * sizes.top, dtype=torch.int32) % sizes.experts).view(16, 1, sizes.top)
    return torch.rand(16, batch, sizes.experts).topk(sizes.top, dim=-1).indices.int()


def expert_bytes(ids: Tensor, matrix: PackedMatrix) -> int:
    """Bytes of the experts that a step reads, on average over the steps."""
    distinct = sum(len(step.unique()) for step in ids) / len(ids)
    one = matrix.words[0].nbytes + matrix.scales[0].nbytes + 2 * matrix.rows
    return round(distinct * one)


def up(batch: int, sizes: Sizes) -> Case:
    matrix, bias = experts_matrix(2 * sizes.width, sizes.hidden, sizes), bf16(sizes.experts, 2 * sizes.width)
    x, ids = torch.randn(batch, sizes.hidden).half(), choices(batch, sizes)

    def run(step: int) -> Tensor:
        return expert_up(x, ids[step % len(ids)], matrix, bias, alpha=1.702, limit=7.0)

    def exact() -> Tensor:
        pairs = x[:, None].expand(-1, sizes.top, -1)
        return swiglu(exact_experts(pairs, ids[0], matrix, bias))

    operations = 2 * batch * sizes.top * matrix.rows * matrix.columns
    return Case(run, exact, FLOAT16, expert_bytes(ids, matrix), operations, decodes=True)


def down(batch: int, sizes: Sizes) -> Case:
    matrix, bias = experts_matrix(sizes.hidden, sizes.width, sizes), bf16(sizes.experts, sizes.hidden)
    x, ids = torch.randn(batch, sizes.top, sizes.width).half(), choices(batch, sizes)
    share, residual = torch.rand(batch, sizes.top), torch.randn(batch, sizes.hidden)

    def run(step: int) -> Tensor:
        return expert_down(x, ids[step % len(ids)], share, matrix, bias, residual)

    def exact() -> Tensor:
        outputs = exact_experts(x, ids[0], matrix, bias)
        return torch.einsum("ns,nsr->nr", share.double(), outputs) + residual.double()

    operations = 2 * batch * sizes.top * matrix.rows * matrix.columns
    return Case(run, exact, FLOAT32, expert_bytes(ids, matrix), operations, decodes=True)


def grouped_up(batch: int, sizes: Sizes, *, decodes: bool = True) -> Case:
    matrix, bias = experts_matrix(2 * sizes.width, sizes.hidden, sizes), bf16(sizes.experts, 2 * sizes.width)
    x, ids = torch.randn(batch, sizes.hidden).half(), choices(batch, sizes)
    plans = [schedule(step, sizes.experts) for step in ids]

    def run(step: int) -> Tensor:
        plan = plans[step % len(plans)]
        return gemm_up(x, plan, sizes.top, matrix, bias, alpha=1.702, limit=7.0)

    def exact() -> Tensor:
        return swiglu(exact_experts(x[:, None].expand(-1, sizes.top, -1), ids[0], matrix, bias))

    moved = expert_bytes(ids, matrix) + x.nbytes + 2 * batch * sizes.top * sizes.width
    operations = 2 * batch * sizes.top * matrix.rows * matrix.columns
    return Case(run, exact, FLOAT16, moved, operations, decodes=decodes)


def grouped_down(batch: int, sizes: Sizes, *, decodes: bool = True) -> Case:
    matrix, bias = experts_matrix(sizes.hidden, sizes.width, sizes), bf16(sizes.experts, sizes.hidden)
    x, ids = torch.randn(batch, sizes.top, sizes.width).half(), choices(batch, sizes)
    share = torch.rand(batch, sizes.top)
    plans = [schedule(step, sizes.experts) for step in ids]

    def run(step: int) -> Tensor:
        return gemm_down(x, plans[step % len(plans)], share, matrix, bias)

    def exact() -> Tensor:
        return torch.einsum("ns,nsr->nr", share.double(), exact_experts(x, ids[0], matrix, bias))

    moved = expert_bytes(ids, matrix) + x.nbytes + 4 * batch * sizes.hidden
    operations = 2 * batch * sizes.top * matrix.rows * matrix.columns
    return Case(run, exact, FLOAT32, moved, operations, decodes=decodes)


def paged(batch: int, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values [pages, Hkv, 64, D] of sequences as long as the context, and their shuffled table."""
    most = -(-sizes.context // PAGE)
    table = torch.randperm(batch * most).view(batch, most).int()
    shape = (batch * most, sizes.kv_heads, PAGE, sizes.head_dim)
    return bf16(*shape), bf16(*shape), table


def sequence(pages: Tensor, table: Tensor, length: int) -> Tensor:
    """What the pages of one sequence hold: float64 [length, Hkv, D]."""
    return pages[table.long()].transpose(1, 2).flatten(0, 1)[:length].double()


def decode(batch: int, sizes: Sizes, window: int | None) -> Case:
    keys, values, table = paged(batch, sizes)
    q, sinks = bf16(batch, sizes.heads, sizes.head_dim), torch.randn(sizes.heads)
    lengths = torch.full((batch,), sizes.context, dtype=torch.int32)

    def run(step: int) -> Tensor:
        return decode_attention(q, keys, values, table, lengths, sinks, window=window)

    def exact() -> Tensor:
        return torch.cat(
            [
                attention(
                    q[i : i + 1].double(),
                    sequence(keys, table[i], sizes.context),
                    sequence(values, table[i], sizes.context),
                    sinks,
                    window=window,
                )
                for i in range(batch)
            ]
        )

    seen = min(sizes.context, window or sizes.context)
    moved = 2 * batch * (2 * seen * sizes.kv_heads + 2 * sizes.heads) * sizes.head_dim
    operations = 4 * batch * seen * sizes.heads * sizes.head_dim
    return Case(run, exact, BFLOAT16, moved, operations, decodes=True)


def prefill(sizes: Sizes, window: int | None) -> Case:
    """The last chunk of a prompt, after a cached prefix."""
    keys, values, table = paged(1, sizes)
    new, length = sizes.chunk, sizes.context
    q, sinks = bf16(new, sizes.heads, sizes.head_dim), torch.randn(sizes.heads)
    starts = torch.tensor([0, new], dtype=torch.int32)
    lengths = torch.tensor([length], dtype=torch.int32)

    def run(step: int) -> Tensor:
        return prefill_attention(q, keys, values, table, starts, lengths, sinks, longest=new, window=window)

    def exact() -> Tensor:
        k, v = sequence(keys, table[0], length), sequence(values, table[0], length)
        return attention(q.double(), k, v, sinks, window=window)

    seen = sum(min(position + 1, window or length) for position in range(length - new, length))
    moved = 2 * sizes.head_dim * (2 * new * sizes.heads + 2 * length * sizes.kv_heads)
    return Case(run, exact, BFLOAT16, moved, 4 * seen * sizes.heads * sizes.head_dim)


def draw(batch: int, sizes: Sizes) -> Case:
    logits, seeds = torch.randn(batch, sizes.vocabulary), torch.arange(batch)
    mask = torch.randint(-(2**31), 2**31, (batch, -(-sizes.vocabulary // 32)), dtype=torch.int32)
    greedy = torch.zeros(batch)

    def run(step: int) -> Tensor:
        return sample(logits, greedy, seeds, mask)

    def exact() -> Tensor:
        return logits.where(allowed_tokens(mask, sizes.vocabulary), float("-inf")).argmax(-1).double()

    return Case(run, exact, 0.0, logits.nbytes + mask.nbytes)


def unembed(batch: int, sizes: Sizes) -> Case:
    matrix = weights(sizes.vocabulary, sizes.hidden, sizes)
    x, norm = torch.randn(batch, sizes.hidden), torch.rand(sizes.hidden)
    seeds, greedy = torch.arange(batch), torch.zeros(batch)
    wanted = torch.randint(sizes.vocabulary, (batch,))
    x += 3 * matrix[0, wanted].float() * sizes.hidden**0.5 / norm.clamp(min=0.1)

    def run(step: int) -> Tensor:
        return unembed_sample(x, norm, matrix[step % len(matrix)], greedy, seeds, eps=EPS)

    def exact() -> Tensor:
        return (rms_norm(x.double(), norm.double(), EPS) @ matrix[0].double().T).argmax(-1).double()

    return Case(run, exact, 0.0, matrix[0].nbytes + x.nbytes, 2 * batch * matrix[0].numel())


def allowed_tokens(mask: Tensor, vocabulary: int) -> Tensor:
    """The bits of `mask` int32 [B, words] as booleans [B, vocabulary]."""
    bits = mask[..., None] >> torch.arange(32) & 1
    return bits.flatten(1)[:, :vocabulary].bool()
