"""Where a GPU had nothing to do, from the times of its kernels."""

from collections.abc import Callable, Iterable
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

Interval = tuple[float, float]


def gaps(busy: Iterable[Interval]) -> list[float]:
    """How long nothing ran, each time, between the first start and the last end."""
    ordered = sorted(busy)
    found: list[float] = []
    until = ordered[0][0] if ordered else 0.0
    for start, end in ordered:
        if start > until:
            found.append(start - until)
        until = max(until, end)
    return found


def between_steps(busy: Iterable[Interval], steps: int) -> float:
    """The median of the `steps` - 1 longest gaps, which are those between steps if any are long."""
    longest = sorted(gaps(busy), reverse=True)[: steps - 1]
    return median(longest) if longest else 0.0


def busy_while(job: Callable[[], object]) -> list[Interval]:
    """When kernels and copies ran on the GPU during a job, in microseconds."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        job()
        torch.cuda.synchronize()
    return [
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type.name == "CUDA"
    ]
