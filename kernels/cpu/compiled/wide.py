"""The float32 vector of the level: 16 numbers with AVX-512, 8 elsewhere."""

from typing import Any

from harmony.kernels.cpu.compiled import llvm
from harmony.kernels.cpu.vectors import LANES


def _of_level(name: str) -> Any:
    return getattr(llvm, f"{name}x{LANES}")


add, add_product, load, load_bf16, load_even_bf16, load_odd_bf16, splat, store, total, zero = map(
    _of_level,
    (
        "add_f32",
        "add_product_f32",
        "load_f32",
        "load_bf16",
        "load_even_bf16",
        "load_odd_bf16",
        "splat_f32",
        "store_f32",
        "total_f32",
        "zero_f32",
    ),
)
