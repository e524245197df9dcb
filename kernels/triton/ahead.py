"""Compile every kernel for a GPU that is not there, and read what the compiler made of it.

`python -m harmony.kernels.triton.ahead [cuda:90 | hip:gfx942 | …] [--json]` prints a line for each launch of
the catalogue. The figures are counts in the machine code, not measurements; for CUDA they are read with the
disassembler of Triton's wheel.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from harmony.kernels.triton.catalogue import VALUES, launches
from harmony.kernels.triton.launch import Launch

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint32: "*u32",
    torch.uint16: "*u16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)(.*)")
LABEL = re.compile(r"\s*(\.L_\w+):")
MATRIX_PRODUCT = re.compile(r"HMMA|HGMMA|UTCHMMA|v_mfma|v_wmma")


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a kernel became.

    Registers of a thread; bytes of stack and of shared memory; instructions of the longest innermost loop,
    for CUDA; whether the source multiplies matrices, and how many instructions do; whether it waits for the
    kernel before it.
    """

    registers: int
    stack: int
    shared: int
    loop: int
    multiplies: bool
    matrix_products: int
    waits: bool


def compile_launch(launch: Launch, target: GPUTarget) -> Compiled:
    """Compile as a device of `target` would at the first launch, specialised to the same arguments."""
    names: list[str] = launch.kernel.arg_names
    dependent = target.backend == "cuda" and target.arch >= 90
    constants = {**launch.constants, "DEPENDENT": dependent}
    signature = dict.fromkeys(constants, "constexpr")
    aligned = []
    for name, argument in zip(names, launch.arguments, strict=False):
        if argument is None or (isinstance(argument, int) and argument == 1):
            signature[name], constants[name] = "constexpr", argument
        elif isinstance(argument, Tensor):
            signature[name] = POINTERS[argument.dtype]
            aligned.append(name)
        elif isinstance(argument, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32"
            if isinstance(argument, int) and argument % 16 == 0:
                aligned.append(name)
    source = ASTSource(
        fn=launch.kernel,
        signature={name: signature[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options: dict[str, object] = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    if dependent:
        options["launch_pdl"] = True
    made = triton.compile(source, target=target, options=options)
    return _read_cuda(made) if target.backend == "cuda" else _read_hip(made)


def _read_cuda(made: Any) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(made.asm["cubin"])
        usage = _run("cuobjdump", "-res-usage", str(cubin))
        names, loop = _instructions(_run("nvdisasm", "-c", str(cubin)))
    return Compiled(
        registers=_number(r"REG:(\d+)", usage),
        stack=_number(r"STACK:(\d+)", usage),
        shared=made.metadata.shared,
        loop=loop,
        multiplies="tt.dot" in made.asm["ttir"],
        matrix_products=sum(count for name, count in names.items() if MATRIX_PRODUCT.match(name)),
        waits="griddepcontrol.wait" in made.asm["ptx"],
    )


def _read_hip(made: Any) -> Compiled:
    code = made.asm["amdgcn"]
    return Compiled(
        registers=_number(r"\.vgpr_count:\s+(\d+)", code),
        stack=_number(r"\.private_segment_fixed_size:\s+(\d+)", code),
        shared=made.metadata.shared,
        loop=0,
        multiplies="tt.dot" in made.asm["ttir"],
        matrix_products=len(MATRIX_PRODUCT.findall(code)),
        waits=False,
    )


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / tool), *arguments], capture_output=True, text=True, check=True).stdout


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return int(found[1])


def _instructions(code: str) -> tuple[Counter[str], int]:
    """How often each instruction occurs, and the length of the longest loop that has no loop inside."""
    names: list[str] = []
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    for line in code.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(names)
        elif found := INSTRUCTION.match(line):
            names.append(found[1].split(".")[0])
            target = re.search(r"\.L_\w+", found[2])
            if names[-1] == "BRA" and target and target[0] in labels:
                start = labels[target[0]]
                if not any(start <= inner for inner, _ in loops):
                    loops.append((start, len(names)))
    return Counter(names), max((end - start for start, end in loops), default=0)


def compiled(target: str) -> dict[str, Compiled]:
    """Every launch of the catalogue, compiled for a `target` such as cuda:90 or hip:gfx942."""
    backend, architecture = target.split(":")
    cuda = backend == "cuda"
    gpu = GPUTarget(backend, int(architecture) if cuda else architecture, 32 if cuda else 64)
    return {name: compile_launch(launch, gpu) for name, launch in launches(backend).items()}


def a_value(name: str, made: Compiled) -> float | None:
    """Instructions of the loop for each MXFP4 value that a thread decodes in it."""
    return made.loop / VALUES[name] if name in VALUES else None


def main(target: str = "cuda:90", *options: str) -> None:
    """Print the table, or JSON."""
    every = compiled(target)
    if "--json" in options:
        print(
            json.dumps(
                {name: asdict(made) | {"a_value": a_value(name, made)} for name, made in every.items()}
            )
        )
        return
    print(f"triton {triton.__version__}, {target}")
    print(f"{'kernel':28} registers  stack  shared   loop  instructions a value")
    for name, made in every.items():
        value = a_value(name, made)
        line = f"{name:28} {made.registers:9} {made.stack:6} {made.shared:7} {made.loop:6}"
        print(f"{line}  {value:.2f}" if value else line)


if __name__ == "__main__":
    main(*sys.argv[1:])
