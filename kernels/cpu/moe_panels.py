"""Experts on their packed weights for many tokens, in float32."""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.moe import Groups
from harmony.kernels.cpu.mxfp4 import TABLE
from harmony.kernels.cpu.panels import BLOCK, panels_of
from harmony.kernels.cpu.pool import numbers, pool
from harmony.kernels.cpu.vectors import LANES
from harmony.kernels.moe import Experts


def in_panels(x: Tensor, groups: Groups, experts: Experts) -> Tensor:
    """The outputs float32 [choices, H] of the experts, in the order of their places."""
    found, rows = int(groups.count[0]), groups.rows
    chosen, ends = groups.chosen[:found], groups.ends[:found]
    hidden, width = x.shape[1], experts.down_blocks.shape[2] * 32
    counts = ends.diff(prepend=ends.new_zeros(1))
    filled = (counts + LANES - 1) // LANES
    stops = filled.cumsum(0)
    begins = stops - filled
    places = torch.arange(len(rows)) + (begins * LANES - ends + counts).repeat_interleave(counts)
    panels = panels_of(x, rows, places, int(stops[-1]), packed=True)
    activated = torch.empty(len(panels), width, LANES)
    outputs = torch.empty(len(rows), hidden)
    pool().run(
        kernel("moe_panels.up"), len(chosen) * -(-2 * width // BLOCK),
        experts.up_blocks, experts.up_scales, experts.up_bias.to(x.dtype), TABLE, chosen, begins, stops,
        panels, activated, numbers(experts.alpha, experts.limit), hidden, width,
    )  # fmt: skip
    pool().run(
        kernel("moe_panels.down"), len(chosen) * -(-hidden // BLOCK),
        experts.down_blocks, experts.down_scales, experts.down_bias.to(x.dtype), TABLE, chosen, begins, ends,
        counts, activated, outputs, hidden, width,
    )  # fmt: skip
    return outputs
