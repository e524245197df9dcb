"""The gpt-oss architecture in a form that trains: whole batches, gradients, no cache.

The same function as `harmony.runtime.model`, which a test checks on an exported checkpoint. Weights
are rounded as they will be stored (experts to MXFP4, embedding to float8_e4m3fn) with straight-through
gradients, so that nothing is lost at export.
"""

import itertools
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
        seen = {
            window: seen_keys(hidden_keys(positions, branches, window))
            for window in (None, self.config.window)
        }
        for block in self.blocks:
            x = block(x, turns, seen[block.attn.window])
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

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: "list[Seen]") -> Tensor:
        x = x + self.attn(x, turns, seen)
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

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: "list[Seen]") -> Tensor:
        (batch, length, _), c = x.shape, self.config
        q, k, v = self.qkv(self.norm(x)).split(
            [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim], dim=-1
        )
        q = rotate(q.view(batch, length, c.heads, c.head_dim), *turns).transpose(1, 2)
        k = rotate(k.view(batch, length, c.kv_heads, c.head_dim), *turns).transpose(1, 2)
        v = v.view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, dim=1) for t in (k, v))
        mixed = Attend.apply(q, k, v, self.sinks.to(q.dtype), seen)
        return self.out(mixed.transpose(1, 2).flatten(2))


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


@dataclass(frozen=True)
class Seen:
    """Queries of a conversation, the keys that any of them sees, and -inf in [Q, K] where one does not."""

    conversation: int
    queries: slice
    keys: Tensor
    mask: Tensor


def seen_keys(hidden: Tensor, queries: int = 64) -> list[Seen]:
    """What is computed of `hidden` [B, T, T]: so many queries at a time, with the keys that they see."""
    found = []
    for conversation, start in itertools.product(range(len(hidden)), range(0, hidden.shape[1], queries)):
        rows = slice(start, min(start + queries, hidden.shape[1]))
        block = hidden[conversation, rows]
        keys = (~block.all(0)).nonzero()[:, 0]
        mask = torch.zeros(len(block), len(keys), device=hidden.device)
        found.append(Seen(conversation, rows, keys, mask.masked_fill_(block[:, keys], -torch.inf)))
    return found


class Attend(torch.autograd.Function):
    """Attention with sinks: q, k and v [B, N, T, D], sinks [N], to [B, N, T, D].

    Scores are computed where a query sees keys, and stay in a processor's cache; torch's fused kernel
    knows no sinks, and with them as one more key it took twice as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, seen: list[Seen]) -> Tensor:
        mixed = torch.empty_like(q)
        shares, at_sink = [], q.new_empty(q.shape[:3])
        sink = sinks[:, None]
        for part in seen:
            at = part.conversation, slice(None), part.queries
            mask = part.mask.to(q.dtype).expand(q.shape[1], -1, -1)
            keys, values = (t[part.conversation][:, part.keys] for t in (k, v))
            scores = torch.baddbmm(mask, q[at] * q.shape[-1] ** -0.5, keys.mT)
            highest = torch.maximum(scores.amax(-1), sink)
            share = scores.sub_(highest[..., None]).exp_()
            others = torch.exp(sink - highest)
            total = share.sum(-1) + others
            share.mul_(1 / total[..., None])
            at_sink[at] = others / total
            mixed[at] = share @ values
            shares.append(share)
        ctx.seen, ctx.shares = seen, shares
        ctx.save_for_backward(q, k, v, at_sink, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, at_sink, mixed = ctx.saved_tensors
        common = (grad * mixed).sum(-1)
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        scale = q.shape[-1] ** -0.5
        for part, share in zip(ctx.seen, ctx.shares, strict=True):
            at = part.conversation, slice(None), part.queries
            keys, values = (t[part.conversation][:, part.keys] for t in (k, v))
            to_v[part.conversation].index_add_(1, part.keys, share.mT @ grad[at])
            scores = (grad[at] @ values.mT).sub_(common[at][..., None]).mul_(share).mul_(scale)
            to_q[at] = scores @ keys
            to_k[part.conversation].index_add_(1, part.keys, scores.mT @ q[at])
        return to_q, to_k, to_v, -(at_sink * common).sum((0, 2)), None


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
        up, down = (mxfp4_rounded(w) if self.rounded else w for w in (self.up, self.down))
        order = ids.flatten().argsort(stable=True)
        rows = order // active
        mixed = [
            F.linear(swiglu(F.linear(chosen, *up)), *down)
            for chosen, up, down in zip(
                tokens[rows].split(torch.bincount(ids.flatten(), minlength=count).tolist()),
                zip(up, self.up_bias, strict=True),
                zip(down, self.down_bias, strict=True),
                strict=True,
            )
        ]
        weighted = torch.cat(mixed).float() * weights.flatten()[order][:, None]
        return torch.zeros_like(tokens).index_add(0, rows, weighted).view_as(x)


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
