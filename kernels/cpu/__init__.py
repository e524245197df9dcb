"""The operations of a gpt-oss model on a CPU, compiled by numba to the best instructions there are.

Weights are read where they lie: packed MXFP4 blocks and scales, or bfloat16 rows. Sums are float32.
A module here prepares an operation's input and calls its kernels, which stand in the module of `compiled`
that has the same name. Only those load numba, and only until their code is kept.
"""

import os
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from harmony.errors import ModelError

Level = Literal["avx512", "avx512vnni", "avx512f", "avx2", "plain", "torch"]
LEVELS: tuple[Level, ...] = get_args(Level)
CHOICE = "HARMONY_CPU_KERNELS"  # the environment variable that forces a level
FEW_ROWS = 16  # up to which a matrix is multiplied as it is read; above, in unpacked tiles
AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
NEEDED = {
    "avx512": {*AVX512, "avx512bf16"},
    "avx512vnni": {*AVX512, "avx512vnni"},
    "avx512f": AVX512,
    "avx2": {"avx2", "fma"},
}


@cache
def level() -> Level:
    """The kernels in use: the best that this CPU runs, or what HARMONY_CPU_KERNELS asks for.

    "avx512" needs AVX512-BF16, "avx512f" does without it, "plain" needs any CPU that numba compiles for, and
    "torch" is the reference without numba. Raises ModelError for a level that is unknown or that this
    machine cannot run.
    """
    runnable = _runnable()
    asked = os.environ.get(CHOICE)
    if asked is None:
        return runnable[0]
    if asked not in runnable:
        raise ModelError(f"{CHOICE} is {asked!r}; unset it or choose one of {', '.join(runnable)}")
    return asked


def serves(x: Tensor) -> bool:
    """Whether these kernels, and not torch, compute on `x`: bfloat16 on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and level() != "torch"


def computes_alone(rows: int) -> bool:
    """Whether these kernels, and no threads of torch, compute a step of so many rows."""
    return level() != "torch" and (rows <= FEW_ROWS or level() != "avx512")


def _runnable() -> list[Level]:
    if find_spec("numba") is None:
        warnings.warn(
            "the model runs in plain torch, many times slower: pip install numba for the fast CPU kernels",
            stacklevel=2,
        )
        return ["torch"]
    from llvmlite import binding

    flags = {name for name, present in binding.get_host_cpu_features().items() if present}
    return [name for name in LEVELS if NEEDED.get(name, set()) <= flags]
