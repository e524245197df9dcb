"""The gpt-oss architecture in a form that trains: whole batches, gradients, no cache.

The same function as `harmony.runtime.model`, which a test checks on an exported checkpoint. Weights
are rounded as they will be stored (experts to MXFP4, embedding to float8_e4m3fn) with straight-through
gradients, so that nothing is lost at export.
"""

import math
from dataclasses import dataclass

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
        self.embedding = nn.Parameter(torch.randn(config.seen, config.hidden_size) * 0.5)
        self.blocks = nn.ModuleList(Block(config, window=index % 2 == 0) for index in range(config.layers))
        self.norm = RMSNorm(config.hidden_size)
        self.rounded = False

    def round_weights(self) -> None:
        """From now on compute with the weights as they will be stored."""
        self.rounded = True
        for block in self.blocks:
            block.mlp.rounded = True

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens` int64 [B, T] to the normalised hidden states [B, T, H]."""
        x = F.embedding(tokens, self.table())
        cos, sin = rotations(tokens.shape[1], self.config.head_dim, x.device)
        for block in self.blocks:
            x = block(x, cos, sin)
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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(x, cos, sin)
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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        (batch, length, _), c = x.shape, self.config
        q, k, v = self.qkv(self.norm(x)).split(
            [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim], dim=-1
        )
        q = rotate(q.view(batch, length, c.heads, c.head_dim), cos, sin).transpose(1, 2)
        k = rotate(k.view(batch, length, c.kv_heads, c.head_dim), cos, sin).transpose(1, 2)
        v = v.view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, dim=1) for t in (k, v))
        mixed = attend(q, k, v, self.sinks, None if self.window is None else self._mask(length + 1, q))
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _mask(self, length: int, like: Tensor) -> Tensor:
        """What a sliding layer adds to its scores; key 0 is the sink, which every query sees."""
        position = torch.arange(length, device=like.device)
        distance = position[:, None] - position[None, :]
        hidden = (distance < 0) | ((distance >= self.window) & (position[None, :] > 0))
        return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, -torch.inf)


def attend(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, mask: Tensor | None) -> Tensor:
    """Attention with sinks by torch's fused kernel: q, k and v [B, heads, T, D] to the same shape.

    A sink is a key whose score is the head's scalar whatever the query, and whose value is 0. One more
    dimension, 1 in every query and 0 in every other key, makes it so; one more query keeps the
    causal alignment. Without `mask` attention is causal.
    """
    pad = 8
    q = F.pad(F.pad(q, (0, 1), value=1.0), (0, pad - 1, 1, 0))
    k, v = (F.pad(t, (0, pad, 1, 0)) for t in (k, v))
    at_sink = torch.zeros(k.shape[-1], device=k.device, dtype=k.dtype)
    at_sink[-pad] = 1
    first = (torch.arange(k.shape[2], device=k.device) == 0).to(k.dtype)
    scale = (q.shape[-1] - pad) ** -0.5
    sink_keys = (sinks / scale).to(k.dtype).view(1, -1, 1, 1) * first.view(1, 1, -1, 1) * at_sink
    mixed = F.scaled_dot_product_attention(
        q, k + sink_keys, v, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return mixed[:, :, 1:, :-pad]


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
        order = ids.flatten().argsort(stable=True)
        rows = order // active
        chunks = tokens[rows].split(torch.bincount(ids.flatten(), minlength=count).tolist())
        up, down = (mxfp4_rounded(w) if self.rounded else w for w in (self.up, self.down))
        outputs = [
            F.linear(swiglu(F.linear(chunk, up[e], self.up_bias[e])), down[e], self.down_bias[e])
            for e, chunk in enumerate(chunks)
        ]
        mixed = torch.cat(outputs).float() * weights.flatten()[order, None]
        return torch.zeros_like(tokens, dtype=torch.float32).index_add(0, rows, mixed).view_as(x)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.scale, eps=1e-5)


def swiglu(h: Tensor, alpha: float = 1.702, limit: float = 7.0) -> Tensor:
    gate, up = h[..., 0::2].clamp(max=limit), h[..., 1::2].clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1)


def rotations(length: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of gpt-oss's YaRN for positions 0 to length, [T, 1, dim/2] each."""
    base, factor, original = 150_000.0, 32.0, 4096.0
    index = torch.arange(dim // 2, dtype=torch.float32, device=device)
    freq = base ** (2 * index / dim)
    low, high = (dim / 2 * math.log(original / (beta * 2 * math.pi)) / math.log(base) for beta in (32, 1))
    ramp = ((index - low) / (high - low)).clamp(0, 1)
    angle = torch.arange(length, device=device)[:, None] * (ramp / (factor * freq) + (1 - ramp) / freq)
    concentration = 0.1 * math.log(factor) + 1
    return angle.cos()[:, None] * concentration, angle.sin()[:, None] * concentration


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def mxfp4_rounded(weight: Tensor) -> Tensor:
    return straight_through(weight, dequantize(*quantize(weight.detach()), dtype=weight.dtype))


def straight_through(weight: Tensor, stored: Tensor) -> Tensor:
    """The stored values forward, the gradient of `weight` backward."""
    return weight + (stored.to(weight.dtype) - weight).detach()
