"""What a CUDA device takes for a launch, timed inside a CUDA graph as decoding runs them."""

from collections.abc import Callable
from statistics import median

import torch
import triton
import triton.language as tl

from harmony.kernels.triton.launch import await_previous, launch

REPLAYS = 9


def seconds(run: Callable[[int], object], steps: int) -> float:
    """The median time of one of `steps` calls of `run`, which gets the number of its step.

    The calls are captured in one graph, and the graph is timed by events around each of its replays.
    """
    for step in range(steps):
        run(step)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for step in range(steps):
            run(step)
    graph.replay()
    times: list[float] = []
    for _ in range(REPLAYS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return median(times) / 1000 / steps


def copy_bandwidth(size: int = 1 << 30) -> float:
    """Bytes a second, read and written, of copying `size` bytes on the device."""
    source, target = (torch.zeros(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    return 2 * size / seconds(lambda step: target.copy_(source), 4)


def product_rate(n: int = 8192) -> float:
    """FLOP/s of the library's product of two bfloat16 matrices [n, n] of random values."""
    a, b = (torch.randn(n, n, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / seconds(lambda step: torch.mm(a, b, out=out), 4)


@triton.jit
def empty_kernel(out, DEPENDENT: tl.constexpr):
    await_previous(DEPENDENT)


def empty_node() -> float:
    """Seconds that a graph spends on one kernel of one program that does nothing."""
    out = torch.zeros(1, device="cuda")
    return seconds(lambda step: launch(empty_kernel, (1,), out), 1000)
