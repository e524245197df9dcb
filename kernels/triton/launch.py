"""Start a Triton kernel, or write down what would be started."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

INTERPRETED: bool = knobs.runtime.interpret  # read once, as triton.jit does where a kernel is defined

COUNTERS = 1 << 16


@triton.jit
def await_previous(DEPENDENT: tl.constexpr):
    """What a kernel begins with: it waits for the one before it, and lets the next one start."""
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def is_last(counter, programs):
    """Whether this program is the last of `programs` to come here; it sees what the others have stored.

    The counter, which was 0, is 0 again then.
    """
    tl.debug_barrier()
    last = tl.atomic_add(counter, 1, sem="acq_rel") == programs - 1
    if last:
        tl.store(counter, 0)
    return last


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a kernel: what `harmony.kernels.triton.ahead` needs to compile it without a device."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[object, ...]
    constants: dict[str, object]
    num_warps: int
    num_stages: int


@dataclass(frozen=True, slots=True)
class Record:
    """Launches for a device of `backend`, cuda or hip, that need not be there."""

    backend: str
    launches: list[Launch] = field(default_factory=list)


_record: ContextVar[Record | None] = ContextVar("record", default=None)
_dependent: ContextVar[bool] = ContextVar("dependent", default=True)


@contextmanager
def recording(backend: str) -> Iterator[list[Launch]]:
    """Write down launches instead of running them: tensors may then lie on the meta device."""
    record = Record(backend)
    token = _record.set(record)
    try:
        yield record.launches
    finally:
        _record.reset(token)


@contextmanager
def one_after_another() -> Iterator[None]:
    """Start each kernel when the one before has ended, to measure what dependent launches gain."""
    token = _dependent.set(False)
    try:
        yield
    finally:
        _dependent.reset(token)


def on_amd() -> bool:
    """Whether kernels are chosen for a device of AMD: matrix products have 16 columns at least there."""
    record = _record.get()
    return torch.version.hip is not None if record is None else record.backend == "hip"


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    *arguments: object,
    num_warps: int = 4,
    num_stages: int = 3,
    **constants: object,
) -> None:
    """Run `kernel` on `grid` programs; `constants` are its constexpr parameters but DEPENDENT.

    DEPENDENT says that the kernel starts while the one before it drains (programmatic dependent
    launch), which needs an NVIDIA device of compute capability 9.0.
    """
    record = _record.get()
    if record is not None:
        record.launches.append(Launch(kernel, grid, arguments, constants, num_warps, num_stages))
    elif INTERPRETED:
        kernel[grid](*arguments, DEPENDENT=False, **constants)
    elif _dependent.get() and starts_dependents():
        options = {"num_warps": num_warps, "num_stages": num_stages, "launch_pdl": True}
        kernel[grid](*arguments, DEPENDENT=True, **options, **constants)
    else:
        kernel[grid](*arguments, DEPENDENT=False, num_warps=num_warps, num_stages=num_stages, **constants)


@cache
def starts_dependents() -> bool:
    """Whether the device can start a kernel while the one before it drains."""
    return torch.version.hip is None and torch.cuda.get_device_capability() >= (9, 0)


@cache
def counters(device: torch.device) -> Tensor:
    """Zeros int32 [COUNTERS] for `is_last`; kernels run one after another, so all share them."""
    return torch.zeros(COUNTERS, dtype=torch.int32, device=device)


def operand(weight: Tensor) -> tl.dtype:
    """The dtype in which `weight` is multiplied: its own, but float32 in the interpreter."""
    exact = INTERPRETED or weight.dtype == torch.float32
    return tl.float32 if exact else tl.bfloat16 if weight.dtype == torch.bfloat16 else tl.float16


def runs_on(tensor: Tensor) -> bool:
    """Whether kernels can read `tensor`: on a GPU, anywhere in the interpreter or while recording."""
    return tensor.is_cuda or INTERPRETED or _record.get() is not None
