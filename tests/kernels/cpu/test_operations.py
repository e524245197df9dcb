"""The compiled operations against the torch reference in float64 and float32, at the model's real shapes."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from ad_hoc import kernel
from guarded import guarded
from packed import exact, packed

from harmony.kernels.attention import attention
from harmony.kernels.cpu import FEW_ROWS, level
from harmony.kernels.cpu.attention import attention as attention_on_cpu
from harmony.kernels.cpu.attention import decode_attention
from harmony.kernels.cpu.compiled.exponential import exp
from harmony.kernels.cpu.compiled.llvm import load_f32, store_f32
from harmony.kernels.cpu.elementwise import rms_norm as rms_norm_on_cpu
from harmony.kernels.cpu.elementwise import rotate as rotate_on_cpu
from harmony.kernels.cpu.linear import linear
from harmony.kernels.cpu.masking import mask_logits
from harmony.kernels.cpu.moe import moe as moe_on_cpu
from harmony.kernels.cpu.pool import compute
from harmony.kernels.cpu.router import route as route_on_cpu
from harmony.kernels.linear import linear as linear_of_any
from harmony.kernels.masking import mask_logits as mask_of_any
from harmony.kernels.moe import Experts, moe, route
from harmony.kernels.mxfp4 import dequantize
from harmony.kernels.rms_norm import rms_norm
from harmony.kernels.rope import rotate, rotation

ULP = 2**-8  # the spacing of bfloat16, relative


@pytest.mark.parametrize(("rows", "columns"), [(5120, 2880), (2880, 4096), (7, 33), (1, 1), (3, 2879)])
@pytest.mark.parametrize("n", [1, 3, 4, 16])
def test_linear(rows: int, columns: int, n: int) -> None:
    """Sums are exact but for the rounding of the result to bfloat16, at odd widths and at the file's end."""
    x = guarded(torch.randn(n, columns).bfloat16())
    weight = guarded(torch.randn(rows, columns).bfloat16())
    bias = torch.randn(rows).bfloat16()
    wanted = x.double() @ weight.double().T + bias.double()
    assert torch.allclose(linear(x, weight, bias).double(), wanted, rtol=ULP, atol=1e-4)


def test_linear_gives_a_row_the_same_bits_in_any_company() -> None:
    """Alone, or as one of as many as are decoded together."""
    x, weight = torch.randn(FEW_ROWS, 2880).bfloat16(), torch.randn(100, 2880).bfloat16()
    together = linear(x, weight, None)
    for n in range(1, FEW_ROWS):
        assert torch.equal(linear(x[:n], weight, None), together[:n])
        assert torch.equal(linear(x[n:], weight, None), together[n:])


@pytest.mark.parametrize(("rows", "columns"), [(5120, 2880), (2880, 4096), (7, 33), (1, 1), (57, 961)])
@pytest.mark.parametrize("n", [17, 33, 530])
def test_linear_of_many_rows(n: int, rows: int, columns: int) -> None:
    """What is multiplied in tiles is as exact, at the edges of tiles and panels and past one pass."""
    n = n if rows < 100 else min(n, 40)
    x = guarded(torch.randn(n, columns).bfloat16())
    weight = guarded(torch.randn(rows, columns).bfloat16())
    bias = torch.randn(rows).bfloat16()
    wanted = x.double() @ weight.double().T
    assert torch.allclose(linear_of_any(x, weight, None).double(), wanted, rtol=ULP, atol=1e-4)
    if level() != "avx512":  # torch rounds before it adds the bias
        assert torch.allclose(linear_of_any(x, weight, bias).double(), wanted + bias, rtol=ULP, atol=1e-4)


def test_exp() -> None:
    """Of all that float32 can tell from 0 and from infinity; 0 and infinity beyond."""
    x = torch.cat((torch.linspace(-87, 88.7, 100_000), torch.linspace(-103, -87, 1000)))
    found, wanted = torch.empty_like(x), x.double().exp()
    compute(_exp, len(x), x, found)
    assert torch.allclose(found[:100_000].double(), wanted[:100_000], rtol=2e-7, atol=0)
    assert torch.allclose(found.double(), wanted, rtol=2e-7, atol=2.0**-149)
    edges, found = torch.tensor([-1e30, -104.0, 0.0, 200.0]), torch.empty(4)
    compute(_exp, 4, edges, found)
    assert found[:3].tolist() == [0, 0, 1]
    assert found[3] > 3e38


@kernel
def _exp(arguments, first, last):
    for item in range(first, last):
        store_f32(arguments[1] + 4 * item, exp(load_f32(arguments[0] + 4 * item)))


@pytest.mark.parametrize("n", [1, 8])
def test_router(n: int) -> None:
    """The best four of 128 experts are those of float64, and a row's do not depend on the others."""
    x, weight, bias = torch.randn(n, 2880).bfloat16(), torch.randn(128, 2880), torch.randn(128)
    wanted = x.double() @ weight.double().T + bias
    best, ids = wanted.topk(4)
    weights, chosen = route(x, weight, bias, 4)
    assert torch.equal(chosen, ids)
    assert torch.allclose(weights.double(), best.softmax(-1), atol=1e-4)
    alone, together = route_on_cpu(x[-1:], weight, bias, 4), route_on_cpu(x, weight, bias, 4)
    assert all(torch.equal(one, many[-1:]) for one, many in zip(alone, together, strict=True))


def test_the_first_of_equal_experts_is_chosen() -> None:
    """As many as are asked for, and each once, even if all are equal."""
    weights, ids = route_on_cpu(torch.zeros(2, 8).bfloat16(), torch.zeros(5, 8), torch.zeros(5), 3)
    assert ids.tolist() == [[0, 1, 2]] * 2
    assert torch.allclose(weights, torch.full((2, 3), 1 / 3))


def test_experts_give_a_row_the_same_bits_in_any_company() -> None:
    """Alone, or as one of as many as are decoded together, however few experts they meet."""
    biases = torch.randn(3, 128).bfloat16(), torch.randn(3, 96).bfloat16()
    experts = Experts(*packed(3, 128, 96), biases[0], *packed(3, 96, 64), biases[1], alpha=1.702, limit=7.0)
    x, weights = torch.randn(FEW_ROWS, 96).bfloat16(), torch.rand(FEW_ROWS, 2)
    ids = torch.stack([torch.randperm(3)[:2] for _ in range(FEW_ROWS)])
    together = moe_on_cpu(x, weights, ids, experts)
    for n in range(1, FEW_ROWS):
        assert torch.equal(moe_on_cpu(x[:n], weights[:n], ids[:n], experts), together[:n])


def test_experts() -> None:
    """One token, a few and many, which take the two ways, agree with the float32 reference."""
    hidden, width, count = 2880, 2880, 3
    up = packed(count, 2 * width, hidden, scales=(119, 123))
    down = packed(count, hidden, width, scales=(119, 123))
    biases = torch.randn(count, 2 * width).bfloat16(), torch.randn(count, hidden).bfloat16()
    experts = Experts(*up, biases[0], *down, biases[1], alpha=1.702, limit=7.0)
    floats = replace(experts, up_bias=biases[0].float(), down_bias=biases[1].float())
    for n in (1, 2, 12, 50, 130):
        x, weights = torch.randn(n, hidden).bfloat16(), torch.rand(n, 2)
        ids = torch.stack([torch.randperm(count)[:2] for _ in range(n)])
        wanted = moe(x.float(), weights, ids, floats)
        error = (moe_on_cpu(x, weights, ids, experts).float() - wanted).norm() / wanted.norm()
        assert error < 2 * ULP


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 300), (3, 131), (2, 3000)])
def test_attention(n: int, m: int, window: int | None) -> None:
    """64 query heads share 8 key heads; sinks and window count, over however many blocks of keys."""
    q, k, v = (torch.randn(size, heads, 64).bfloat16() for size, heads in ((n, 64), (m, 8), (m, 8)))
    sinks = torch.randn(64)
    wanted = attention(q.float(), k.float(), v.float(), sinks, window=window)
    assert torch.allclose(attention_on_cpu(q, k, v, sinks, window).float(), wanted, rtol=ULP, atol=1e-5)


WITHOUT_MEMORY = """
import resource, torch
from harmony.kernels.cpu.attention import attention

q, k, v = torch.randn(1, 64, 16), torch.randn(200_000, 1, 16), torch.randn(200_000, 1, 16)
q, k, v, sinks = q.bfloat16(), k.bfloat16(), v.bfloat16(), torch.zeros(64)
attention(q, k[:1], v[:1], sinks, None)  # the code may have to be compiled, and threads to start
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (20 << 20),) * 2)
assert attention(q, k, v, sinks, None).isfinite().all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's size in /proc")
def test_a_long_context_takes_no_memory() -> None:
    """Not the 51 MB of all weights of a query, whose lack nobody would be told of in a kernel."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_huge_sink_silences_a_head() -> None:
    """A sink far above all logits takes the whole softmax, and nothing overflows."""
    q, k, v = torch.randn(1, 8, 64), torch.randn(4, 1, 64), torch.randn(4, 1, 64)
    out = attention_on_cpu(q.bfloat16(), k.bfloat16(), v.bfloat16(), torch.full((8,), 1e4), None)
    assert out.abs().max() == 0


def test_rms_norm() -> None:
    """Rows are normalised one by one and rounded once, after the scale."""
    x, scale = torch.randn(3, 2880).bfloat16() * 5, torch.randn(2880)
    wanted = rms_norm(x.float(), scale, 1e-5)
    assert torch.allclose(rms_norm_on_cpu(x, scale, 1e-5).float(), wanted, rtol=ULP, atol=0)


def test_rotation() -> None:
    """Queries of three tokens turn as in the reference, views of a larger tensor included."""
    x = torch.randn(3, 80, 64).bfloat16()[:, 8:72]
    cos, sin = rotation(torch.tensor([5, 6, 70000]), torch.rand(32), 1.3)
    wanted = rotate(x.float(), cos, sin)
    assert torch.allclose(rotate_on_cpu(x, cos, sin).float(), wanted, rtol=ULP, atol=1e-6)


def test_weights_of_an_expert_agree_with_float64() -> None:
    """The oracle of these tests is itself the standard's arithmetic."""
    blocks, scales = packed(2, 64)
    assert torch.equal(exact(blocks, scales).float(), dequantize(blocks, scales, torch.float32))


@pytest.mark.parametrize("window", [None, 128])
def test_attention_over_pages(window: int | None) -> None:
    """Queries of sequences of several lengths find what they find alone, in pages of any order."""
    lengths = torch.tensor([1, 64, 65, 300], dtype=torch.int32)
    keys, values = (torch.randn(12, 8, 64, 64).bfloat16() for _ in range(2))
    table = torch.randperm(12)[None].int().repeat(4, 1)[:, :5].contiguous()
    q, sinks = torch.randn(4, 64, 64).bfloat16(), torch.randn(64)
    found = decode_attention(q, keys, values, table, lengths, sinks, window)
    for row, length in enumerate(lengths.tolist()):
        pages = table[row].long()
        k, v = (t[pages].transpose(1, 2).reshape(-1, 8, 64)[:length].float() for t in (keys, values))
        wanted = attention(q[row : row + 1].float(), k, v, sinks, window=window)
        assert torch.allclose(found[row : row + 1].float(), wanted, rtol=ULP, atol=1e-5)
        one = decode_attention(
            q[row : row + 1], keys, values, table[row : row + 1], lengths[row : row + 1], sinks, window
        )
        assert torch.equal(one, found[row : row + 1])


@pytest.mark.parametrize("words", [1, 3, 6284])
def test_masks(words: int) -> None:
    """Each bit rules on its own token, the sign bit too, and nothing behind the last is touched."""
    logits = torch.randn(32 * words)
    bits = torch.randint(0, 2, (words, 32), dtype=torch.int64)
    mask = (bits << torch.arange(32)).sum(-1).to(torch.uint32).view(torch.int32)
    wanted = torch.where(bits.flatten().bool(), logits, float("-inf"))
    before = guarded(logits)
    assert torch.equal(mask_logits(before, guarded(mask), overwrite=False), wanted)
    assert torch.equal(mask_of_any(logits, mask), wanted)
    assert torch.equal(before, logits)
    assert mask_of_any(before, mask, overwrite=True) is before
    assert torch.equal(before, wanted)
