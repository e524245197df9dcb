"""What computes a model on the device that it has, and why."""

import os
import warnings

import torch

from harmony.kernels import cpu, triton
from harmony.runtime.config import ModelConfig
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.model import State, Transformer

Model = Transformer | FusedTransformer


def build(config: ModelConfig, state: State) -> Model:
    """The model in the fastest kernels that its device and dtype allow; warns of the reference on a GPU."""
    place, dtype = state["norm.scale"].device, state["norm.scale"].dtype
    reason = why_not_fused(place, dtype)
    if reason is None:
        return FusedTransformer(config, state)
    if place.type == "cuda":
        warnings.warn(f"the model runs in plain torch, many times slower: {reason}", stacklevel=2)
    if cpu.serves(state["norm.scale"]):
        from harmony.runtime.on_cpu import CpuTransformer

        return CpuTransformer(config, state)
    return Transformer(config, state)


def why_not_fused(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels of Triton do not compute a model of this dtype on `device`; None if they do."""
    forced = os.environ.get(triton.CHOICE)
    if triton.level() == "torch":
        return f"{triton.CHOICE} is torch" if forced else "Triton is not installed; pip install triton"
    if forced == "interpreted":
        return None
    if device.type != "cuda":
        return "the model is not on a GPU"
    return None if dtype == torch.bfloat16 else f"the kernels of a GPU compute bfloat16, not {dtype}"


def describe(model: Model) -> str:
    """One line: the kernels that compute this model, and why not better ones."""
    if isinstance(model, FusedTransformer):
        return f"Triton kernels on {model.device}" + (
            ", interpreted" if triton.level() == "interpreted" else ""
        )
    if model.device.type == "cuda":
        return f"torch reference on {model.device}: {why_not_fused(model.device, model.dtype)}"
    if model.dtype != torch.bfloat16:
        return "torch reference on the CPU: its kernels compute bfloat16, not float32"
    if cpu.level() == "torch":
        return f"torch reference on the CPU: numba is not installed, or {cpu.CHOICE} is torch"
    return f"{cpu.level()} kernels on the CPU: the model is not on a GPU"


def current(device: torch.device) -> torch.cuda.device:
    """Makes a GPU the one that kernels of this thread are launched on; of a CPU it makes nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
