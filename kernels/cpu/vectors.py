"""Vectors as the levels have them: in registers, and stored to be multiplied with packed rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harmony.kernels.cpu import Level, level
from harmony.kernels.mxfp4 import MAGNITUDES

LANES = 16 if level().startswith("avx512") else 8  # float32 numbers in a register
OFFSET = 12  # what makes twice a weight a byte without a sign

_VALUES = np.array((*MAGNITUDES, *(-magnitude for magnitude in MAGNITUDES)), np.float32)
_TWICE = (2 * _VALUES).astype(np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """How a level stores a vector: elements in groups of `group`; and the table that its nibbles look up."""

    group: int
    element: torch.dtype
    table: "np.ndarray[Any, Any]"


AVX512 = Stored(128, torch.uint16, np.tile(_VALUES.view(np.uint32) >> 16, 2).astype(np.uint16))
AVX512F = Stored(128, torch.float32, _VALUES)
AVX512VNNI = Stored(
    512,
    torch.float32,  # before it is finished
    np.concatenate((np.tile(OFFSET + _TWICE, 4).astype(np.uint8), _VALUES.view(np.uint8))),
)
AVX2 = Stored(32, torch.float32, _TWICE)
PLAIN = Stored(32, torch.float32, np.zeros(1, np.int8))  # it computes what others look up

_OF_LEVELS: dict[Level, Stored] = {
    "avx512": AVX512,
    "avx512vnni": AVX512VNNI,
    "avx512f": AVX512F,
    "avx2": AVX2,
}
STORED = _OF_LEVELS.get(level(), PLAIN)
