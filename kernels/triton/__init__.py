"""The operations of a gpt-oss model on a GPU, compiled by Triton.

They read packed experts and paged keys and values. Importing this package loads no Triton; the modules
beside it do.
"""

import os
from functools import cache
from importlib import util
from typing import Literal, get_args

from torch import Tensor

from harmony.errors import ModelError

Level = Literal["triton", "interpreted", "torch"]
LEVELS: tuple[Level, ...] = get_args(Level)
CHOICE = "HARMONY_GPU_KERNELS"  # the environment variable that forces a level
find_spec = cache(util.find_spec)  # every operation asks
FEW_ROWS = 16  # up to which a dense matrix is streamed; above, the library's product is faster


def level() -> Level:
    """What computes on a GPU: these kernels where Triton is installed, or what HARMONY_GPU_KERNELS asks for.

    "torch" is the reference; "interpreted" runs the kernels in Triton's interpreter, on tensors on a CPU too,
    and needs TRITON_INTERPRET=1. Raises ModelError for a level that is unknown or without Triton.
    """
    possible = LEVELS if find_spec("triton") is not None else LEVELS[-1:]
    asked = os.environ.get(CHOICE, possible[0])
    for name in possible:
        if name == asked:
            return name
    raise ModelError(f"{CHOICE} is {asked!r}; unset it or choose one of {', '.join(possible)}")


def serves(x: Tensor) -> bool:
    """Whether these kernels, and not torch, compute on `x`."""
    return (x.is_cuda and level() != "torch") or os.environ.get(CHOICE) == "interpreted"
