"""Each operation's plain function: what it picks, and that Triton and torch compute the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harmony.errors import ModelError
from harmony.kernels import triton
from harmony.kernels.embedding import embed
from harmony.kernels.linear import linear
from harmony.kernels.moe import Experts, moe, pack_experts, unpack_experts
from harmony.kernels.mxfp4 import quantize
from harmony.kernels.paged_attention import decode_attention, prefill_attention
from harmony.kernels.qkv import qkv
from harmony.kernels.router import route
from harmony.kernels.sampling import philox, sample
from harmony.kernels.unembedding import unembed, unembed_sample

EXPERTS, HIDDEN, WIDTH, VOCABULARY, DIM, PAGE = 6, 96, 64, 300, 16, 64


def experts() -> Experts:
    up, down = torch.randn(EXPERTS, 2 * WIDTH, HIDDEN), torch.randn(EXPERTS, HIDDEN, WIDTH)
    biases = torch.randn(EXPERTS, 2 * WIDTH), torch.randn(EXPERTS, HIDDEN)
    return Experts(*quantize(up), biases[0], *quantize(down), biases[1], alpha=1.702, limit=7.0)


def an_embedding() -> tuple[Tensor, ...]:
    return tuple(
        embed(torch.tensor([3, 299, 0, 3]), torch.randn(VOCABULARY, 1100).to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    )


def a_linear() -> tuple[Tensor, ...]:
    x, weight, bias = torch.randn(3, HIDDEN), torch.randn(20, HIDDEN), torch.randn(20)
    return linear(x, weight), linear(x, weight, bias, residual=torch.ones(3, 20))


def a_qkv() -> tuple[Tensor, ...]:
    x, norm, weight, bias = (
        torch.randn(3, HIDDEN),
        torch.rand(HIDDEN),
        torch.randn(112, HIDDEN),
        torch.rand(112),
    )
    cos, sin = torch.rand(3, DIM // 2), torch.rand(3, DIM // 2)
    keys, values = torch.zeros(2, 4, 2, PAGE, DIM)
    slots = torch.tensor([5, 64, 200]).int()
    return qkv(x, norm, weight, bias, cos, sin, slots, keys, values, eps=1e-5), keys, values


def a_route() -> tuple[Tensor, ...]:
    x, norm = torch.randn(3, HIDDEN), torch.rand(HIDDEN)
    normed, weights, ids = route(x, norm, torch.randn(EXPERTS, HIDDEN), torch.randn(EXPERTS), 4, eps=1e-5)
    return normed, weights, ids.int()


def a_moe() -> tuple[Tensor, ...]:
    x, packed = torch.randn(3, HIDDEN), pack_experts(experts())
    weights, ids = torch.rand(3, 4), torch.rand(3, EXPERTS).topk(4).indices
    return moe(x, weights, ids, packed), moe(x, weights, ids, packed, residual=torch.ones(3, HIDDEN))


def paged() -> tuple[Tensor, Tensor, Tensor]:
    keys, values = torch.randn(2, 6, 2, PAGE, DIM)
    return keys, values, torch.randperm(6).view(2, 3).int()


def a_decode() -> tuple[Tensor, ...]:
    keys, values, table = paged()
    q, sinks, lengths = torch.randn(2, 4, DIM), torch.randn(4), torch.tensor([150, 3]).int()
    return tuple(decode_attention(q, keys, values, table, lengths, sinks, window=w) for w in (None, 70))


def a_prefill() -> tuple[Tensor, ...]:
    keys, values, table = paged()
    q, sinks, lengths = torch.randn(25, 4, DIM), torch.randn(4), torch.tensor([150, 15]).int()
    starts, longest = torch.tensor([0, 20, 25]).int(), 20
    return tuple(
        prefill_attention(q, keys, values, table, starts, lengths, sinks, longest=longest, window=w)
        for w in (None, 70)
    )


def a_draw() -> tuple[Tensor, ...]:
    x, norm, weight = torch.randn(4, HIDDEN), torch.rand(HIDDEN), torch.randn(VOCABULARY, HIDDEN)
    mask = torch.randint(-(2**31), 2**31, (4, -(-VOCABULARY // 32)), dtype=torch.int32)
    temperatures, seeds = torch.tensor([0.0, 1.0, 9.0, 30.0]), torch.tensor([1, 2**40 + 3, -5, 7])
    logits = unembed(x, norm, weight, eps=1e-5)
    return (
        logits,
        sample(logits, temperatures, seeds),
        sample(logits, temperatures, seeds, mask),
        unembed_sample(x, norm, weight, temperatures, seeds, mask, eps=1e-5),
    )


@pytest.mark.parametrize("run", [an_embedding, a_linear, a_qkv, a_route, a_moe, a_decode, a_prefill, a_draw])
def test_triton_and_torch_agree(
    run: Callable[[], tuple[Tensor, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function gives the same in Triton's interpreter and in torch: drawn tokens exactly."""
    results = []
    for level in ("torch", "interpreted"):
        monkeypatch.setenv(triton.CHOICE, level)
        torch.manual_seed(0)
        results.append(run())
    for reference, ours in zip(*results, strict=True):
        if reference.dtype == torch.int32:
            assert torch.equal(reference, ours)
        else:
            assert float((reference - ours).norm() / reference.norm()) < 5e-4


def test_philox_is_that_of_its_authors() -> None:
    """The known answer for a counter and a key of zeros (Random123)."""
    assert philox(torch.tensor([0]), torch.tensor([0])).item() == 0x6627E8D5


def test_experts_survive_packing() -> None:
    """Those chosen come back byte for byte."""
    every, chosen = experts(), torch.tensor([1, 4])
    again = unpack_experts(pack_experts(every), chosen)
    assert torch.equal(again.up_blocks, every.up_blocks[chosen])
    assert torch.equal(again.down_scales, every.down_scales[chosen])
    assert torch.equal(again.down_bias, every.down_bias[chosen])


def test_the_level_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; a name that is none is told with those that are."""
    x = torch.zeros(1)
    monkeypatch.delenv(triton.CHOICE, raising=False)
    assert triton.level() == "triton"
    assert not triton.serves(x)
    monkeypatch.setenv(triton.CHOICE, "interpreted")
    assert triton.serves(x)
    monkeypatch.setenv(triton.CHOICE, "cuda")
    with pytest.raises(ModelError, match="one of triton, interpreted, torch"):
        triton.level()


def test_without_triton_torch_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else can be asked for."""
    monkeypatch.setattr(triton, "find_spec", lambda name: None)
    monkeypatch.delenv(triton.CHOICE, raising=False)
    assert triton.level() == "torch"
    monkeypatch.setenv(triton.CHOICE, "triton")
    with pytest.raises(ModelError, match="choose one of torch"):
        triton.level()
