"""The gpt-oss architecture in a form that trains: whole batches, gradients, no cache.

The same function as `harmony.runtime.model`, which a test checks on an exported checkpoint. Weights
are rounded as they will be stored (experts to MXFP4, embedding to float8_e4m3fn) with straight-through
gradients, so that nothing is lost at export.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.kernels.mxfp4 import dequantize, quantize


@dataclass(frozen=True)
class TinyConfig:
    """The shape of the bundled model; `seen` is how many tokens of the vocabulary have a row."""

    seen: int
    vocab_size: int = 201_088
    hidden_size: int = 128
    intermediate_size: int = 128
    layers: int = 4
    experts: int = 8
    experts_per_token: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    window: int = 128


class TinyModel(nn.Module):
    """Token ids in the compact vocabulary (0 is any token without a row) to hidden states."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.seen, config.hidden_size) * config.hidden_size**-0.5)
        self.blocks = nn.ModuleList(Block(config, window=index % 2 == 0) for index in range(config.layers))
        self.norm = RMSNorm(config.hidden_size)
        self.rounded = False

    def round_weights(self) -> None:
        """From now on compute with the weights as they will be stored."""
        self.rounded = True
        for block in self.blocks:
            block.mlp.rounded = True

    def forward(self, tokens: Tensor, branches: Tensor | None = None) -> Tensor:
        """`tokens` int64 [B, T] to the normalised hidden states [B, T, H].

        Of `branches` int64 [B, T], each sees itself and branch 0, which all of them go on from.
        """
        branches = torch.zeros_like(tokens) if branches is None else branches
        x = F.embedding(tokens, self.table())
        positions = positions_in(branches)
        turns = rotations(positions, self.config.head_dim)
        masks = {window: hidden_keys(positions, branches, window) for window in (None, self.config.window)}
        for block in self.blocks:
            x = block(x, turns, masks[block.attn.window])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, H] to [N, seen]; column 0 stands for all rows that are zero, whose logits are 0."""
        without_row = math.log(self.config.vocab_size - self.config.seen + 1)
        logits = hidden @ self.table().T
        return torch.cat([torch.full_like(logits[:, :1], without_row), logits[:, 1:]], dim=1)

    def balance(self) -> Tensor:
        """The load-balancing loss of Switch Transformers (arXiv:2101.03961), summed over layers."""
        return torch.stack([block.mlp.balance for block in self.blocks]).sum()

    def table(self) -> Tensor:
        known = torch.ones(self.config.seen, 1, device=self.embedding.device)
        known[0] = 0
        table = self.embedding * known
        return straight_through(table, table.to(torch.float8_e4m3fn)) if self.rounded else table


class Block(nn.Module):
    def __init__(self, config: TinyConfig, *, window: bool) -> None:
        super().__init__()
        self.attn = Attention(config, config.window if window else None)
        self.mlp = MixtureOfExperts(config)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        x = x + self.attn(x, turns, hidden)
        return x + self.mlp(x)


class Attention(nn.Module):
    def __init__(self, config: TinyConfig, window: int | None) -> None:
        super().__init__()
        self.config, self.window = config, window
        width = config.heads * config.head_dim
        self.norm = RMSNorm(config.hidden_size)
        self.qkv = nn.Linear(config.hidden_size, width + 2 * config.kv_heads * config.head_dim)
        self.out = nn.Linear(width, config.hidden_size)
        self.sinks = nn.Parameter(torch.zeros(config.heads))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        (batch, length, _), c = x.shape, self.config
        q, k, v = self.qkv(self.norm(x)).split(
            [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim], dim=-1
        )
        q = rotate(q.view(batch, length, c.heads, c.head_dim), *turns).transpose(1, 2)
        k = rotate(k.view(batch, length, c.kv_heads, c.head_dim), *turns).transpose(1, 2)
        v = v.view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, dim=1) for t in (k, v))
        sinks = self.sinks.to(q.dtype).repeat(batch)
        mask = torch.zeros_like(hidden, dtype=q.dtype).masked_fill_(hidden, -torch.inf)
        mask = mask.repeat_interleave(c.heads, dim=0)
        mixed = Attend.apply(*(t.flatten(0, 1) for t in (q, k, v)), sinks, mask)
        return self.out(mixed.view(q.shape).transpose(1, 2).flatten(2))


def positions_in(branches: Tensor) -> Tensor:
    """The position of each token [B, T]: every branch goes on where branch 0 ends."""
    index = torch.arange(branches.shape[1], device=branches.device).expand_as(branches)
    begins = F.pad(branches[:, 1:] != branches[:, :-1], (1, 0))
    start = torch.where(begins, index, 0).cummax(dim=1).values
    common = ((branches > 0).cumsum(1) == 0).sum(1, keepdim=True)
    return torch.where(branches > 0, index - start + common, index)


def hidden_keys(positions: Tensor, branches: Tensor, window: int | None) -> Tensor:
    """Which keys (last) a query does not see, bool [B, T, T]."""
    length = positions.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=positions.device).triu(1)
    elsewhere = (branches[:, None, :] > 0) & (branches[:, None, :] != branches[:, :, None])
    hidden = later | elsewhere
    return hidden if window is None else hidden | (positions[:, :, None] - positions[:, None, :] >= window)


class Attend(torch.autograd.Function):
    """Attention with sinks: q, k and v [N, T, D], sinks [N], mask [N, T, T] to add, to [N, T, D].

    A few matrices of scores at a time, so that they stay in a processor's cache; torch's fused kernel
    knows no sinks, and with them as one more key it took twice as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, mask: Tensor) -> Tensor:
        shares = q.new_empty(*q.shape[:2], k.shape[1])
        at_sink = q.new_empty(q.shape[:2])
        scaled = q * q.shape[-1] ** -0.5
        for part in slices_in_cache(q):
            scores = torch.baddbmm(mask[part], scaled[part], k[part].mT)
            sink = sinks[part, None]
            highest = torch.maximum(scores.amax(-1), sink)
            torch.exp(scores.sub_(highest[..., None]), out=shares[part])
            others = torch.exp(sink - highest)
            total = shares[part].sum(-1) + others
            shares[part].mul_(1 / total[..., None])
            at_sink[part] = others / total
        mixed = shares @ v
        ctx.save_for_backward(q, k, v, shares, at_sink, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares, at_sink, mixed = ctx.saved_tensors
        common = (grad * mixed).sum(-1)
        to_q, to_k = torch.empty_like(q), torch.empty_like(k)
        for part in slices_in_cache(q):
            scores = torch.bmm(grad[part], v[part].mT).sub_(common[part, :, None]).mul_(shares[part])
            torch.bmm(scores, k[part], out=to_q[part])
            torch.bmm(scores.mT, q[part], out=to_k[part])
        scale = q.shape[-1] ** -0.5
        return to_q.mul_(scale), to_k.mul_(scale), shares.mT @ grad, -(at_sink * common).sum(-1), None


def slices_in_cache(q: Tensor, elements: int = 2**18) -> list[slice]:
    """Slices of the first dimension of q [N, T, D] whose [T, T] scores have about so many elements."""
    step = max(1, elements // q.shape[1] ** 2)
    return [slice(start, start + step) for start in range(0, len(q), step)]


class MixtureOfExperts(nn.Module):
    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        count, hidden, inner = config.experts, config.hidden_size, config.intermediate_size
        self.norm = RMSNorm(hidden)
        self.router = nn.Linear(hidden, count)
        self.up = nn.Parameter(torch.randn(count, 2 * inner, hidden) * hidden**-0.5)
        self.up_bias = nn.Parameter(torch.zeros(count, 2 * inner))
        self.down = nn.Parameter(torch.randn(count, hidden, inner) * inner**-0.5)
        self.down_bias = nn.Parameter(torch.zeros(count, hidden))
        self.rounded = False
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        count, active = self.config.experts, self.config.experts_per_token
        tokens = self.norm(x).flatten(0, 1)
        scores = self.router(tokens)
        best, ids = scores.topk(active, dim=-1)
        weights = best.float().softmax(dim=-1)
        load = F.one_hot(ids, count).float().mean(dim=(0, 1))
        self.balance = count * (load * scores.float().softmax(dim=-1).mean(dim=0)).sum()
        rows, shares = by_expert(ids, weights, count)
        up, down = (mxfp4_rounded(w) if self.rounded else w for w in (self.up, self.down))
        chosen = F.pad(tokens, (0, 0, 0, 1))[rows]
        hidden = swiglu(batched_linear(chosen, up, self.up_bias))
        mixed = batched_linear(hidden, down, self.down_bias) * shares[..., None]
        summed = torch.zeros(len(tokens) + 1, x.shape[-1], device=x.device)
        return summed.index_add(0, rows.flatten(), mixed.flatten(0, 1).float())[:-1].view_as(x)


def by_expert(ids: Tensor, weights: Tensor, count: int, multiple: int = 64) -> tuple[Tensor, Tensor]:
    """The rows of tokens that each expert computes and their weights, [count, capacity] each.

    `ids` and `weights` are [N, active]. The capacity is that of the fullest expert, rounded up so that
    few shapes occur; what is left of it holds row N with weight 0.
    """
    order = ids.flatten().argsort(stable=True)
    load = torch.bincount(ids.flatten(), minlength=count)
    capacity = -(-int(load.max()) // multiple) * multiple
    expert = ids.flatten()[order]
    slot = torch.arange(len(order), device=ids.device) - (load.cumsum(0) - load)[expert]
    rows = ids.new_full((count, capacity), len(ids))
    rows[expert, slot] = order // ids.shape[1]
    shares = weights.new_zeros(count, capacity).index_put((expert, slot), weights.flatten()[order])
    return rows, shares


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[E, N, in] by [E, out, in] and [E, out] to [E, N, out]."""
    product = x @ weight.mT
    return product + bias[:, None].to(product.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.scale, eps=1e-5)


def swiglu(h: Tensor, alpha: float = 1.702, limit: float = 7.0) -> Tensor:
    gate, up = h[..., 0::2].clamp(max=limit), h[..., 1::2].clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1)


def rotations(positions: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin of gpt-oss's YaRN for positions [B, T], [B, T, 1, dim/2] each."""
    base, factor, original = 150_000.0, 32.0, 4096.0
    index = torch.arange(dim // 2, dtype=torch.float32, device=positions.device)
    freq = base ** (2 * index / dim)
    low, high = (dim / 2 * math.log(original / (beta * 2 * math.pi)) / math.log(base) for beta in (32, 1))
    ramp = ((index - low) / (high - low)).clamp(0, 1)
    angle = positions[..., None] * (ramp / (factor * freq) + (1 - ramp) / freq)
    concentration = 0.1 * math.log(factor) + 1
    return angle.cos()[..., None, :] * concentration, angle.sin()[..., None, :] * concentration


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def mxfp4_rounded(weight: Tensor) -> Tensor:
    return straight_through(weight, dequantize(*quantize(weight.detach()), dtype=weight.dtype))


def straight_through(weight: Tensor, stored: Tensor) -> Tensor:
    """The stored values forward, the gradient of `weight` backward."""
    return weight + (stored.to(weight.dtype) - weight).detach()
