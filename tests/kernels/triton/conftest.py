"""Triton kernels run in its interpreter here, on the CPU, and no bfloat16 may reach one of its operators."""

import os
import sys
from typing import Any

import pytest

if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
    raise RuntimeError("something imported triton before these tests could switch its interpreter on")
os.environ["TRITON_INTERPRET"] = "1"

pytest.importorskip("triton", reason="Triton has no wheel for this platform")

import triton.language as tl
from triton.runtime import interpreter

OPERATORS = ("unary_op", "binary_op", "ternary_op", "create_dot", "create_fma", "create_atomic_rmw")


def holds_bfloat16(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and getattr(dtype, "scalar", None) == tl.bfloat16


def refuse_bfloat16(*operands: Any) -> None:
    """The interpreter keeps bfloat16 as 16-bit integers and computes with those, without a word."""
    if any(map(holds_bfloat16, operands)):
        raise AssertionError("a bfloat16 tensor reached an operator of the interpreter")


@pytest.fixture(autouse=True)
def no_bfloat16_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operator and reduction of the interpreter refuses bfloat16; loads, stores and casts pass."""

    def guarded(method: Any) -> Any:
        def checked(self: Any, *arguments: Any) -> Any:
            refuse_bfloat16(*arguments)
            return method(self, *arguments)

        return checked

    for name in OPERATORS:
        monkeypatch.setattr(
            interpreter.InterpreterBuilder, name, guarded(getattr(interpreter.InterpreterBuilder, name))
        )
    scans = interpreter.ReduceScanOpInterface
    apply = scans.apply

    def checked_apply(self: Any, values: Any) -> Any:
        refuse_bfloat16(*(values if isinstance(values, tuple) else (values,)))
        return apply(self, values)

    monkeypatch.setattr(scans, "apply", checked_apply)
