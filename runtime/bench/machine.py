"""What runs the model, and the limits measured on it."""

import platform
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from harmony.runtime.bench.cpu import bandwidth, product


@dataclass(frozen=True, slots=True)
class Machine:
    """A device, its driver and libraries, and what it copies and multiplies in a second.

    `bandwidth` counts bytes read and written by a copy on a GPU, and bytes read on a CPU; `product` is
    the FLOP/s of torch's matrix product, in bfloat16 on a GPU.
    """

    device: str
    driver: str
    python_version: str
    torch_version: str
    cuda_version: str | None
    triton_version: str | None
    date: str
    bandwidth: float
    product: float

    @classmethod
    def measured(cls, device: torch.device) -> "Machine":
        """This machine; it takes about a second."""
        on_gpu = device.type == "cuda"
        copied, multiplied = _gpu_limits(device) if on_gpu else (bandwidth(), product())
        return cls(
            device=torch.cuda.get_device_name(device) if on_gpu else _processor(),
            driver=_driver() if on_gpu else "none",
            python_version=platform.python_version(),
            torch_version=torch.__version__,
            cuda_version=torch.version.cuda,
            triton_version=_version("triton"),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            bandwidth=copied,
            product=multiplied,
        )

    def __str__(self) -> str:
        return (
            f"{self.device}, driver {self.driver}, CUDA {self.cuda_version}, torch {self.torch_version}, "
            f"triton {self.triton_version}, python {self.python_version}; {self.bandwidth / 1e9:.1f} GB/s, "
            f"{self.product / 1e12:.3g} TFLOP/s"
        )


def _gpu_limits(device: torch.device) -> tuple[float, float]:
    from harmony.kernels.triton.timing import copy_bandwidth, product_rate

    with torch.cuda.device(device):
        return copy_bandwidth(), product_rate()


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
