"""Matrix products of many vectors, in float32, for CPUs that do not multiply bfloat16.

The vectors lie in panels, float32 [panels, columns, LANES]: LANES of them side by side. BLOCK rows of weights
at a time are unpacked into a core's own caches, and each of them is multiplied with all vectors of a panel.
"""

import torch
from torch import Tensor

from harmony.kernels.cpu.loading import kernel
from harmony.kernels.cpu.pool import pool
from harmony.kernels.cpu.vectors import LANES

ROWS = 14 if LANES == 16 else 6  # of weights: with two sums each, as many as registers hold
TILES = 4 if LANES == 16 else 8  # of ROWS rows, which are multiplied before the next vectors are looked at
BLOCK = TILES * ROWS
MOST = 512 // LANES  # panels whose sums are kept


def panels_of(x: Tensor, rows: Tensor, places: Tensor, count: int, *, packed: bool) -> Tensor:
    """`count` panels in which row rows[i] of `x` bfloat16 [n, columns] is vector places[i].

    `packed` puts columns in the order of unpacked MXFP4. Places without a vector are zero.
    """
    panels = torch.zeros(count, x.shape[1], LANES)
    pool().run(kernel("panels.pack"), len(rows), x.contiguous(), rows, places, panels, x.shape[1], packed)
    return panels
