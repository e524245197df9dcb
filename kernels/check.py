"""`python -m harmony.kernels.check`: is every kernel right on this GPU, and how near is it to the limit?"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harmony.command_line import Parser
from harmony.errors import UsageError
from harmony.process import as_process, exit_status

if TYPE_CHECKING:
    from harmony.kernels.triton.cases import Case, Sizes

RIGHT, WRONG = 0, 1
BATCHES: Final = (1, 4, 16, 64)
STEPS = 32  # launches of a kernel in the graph that is timed

_DESCRIPTION: Final = """\
Check every Triton kernel against float64 at the sizes of gpt-oss, then time it on the GPU.

Each kernel is timed inside a CUDA graph, as decoding runs it, on weights that are not in the cache.
GB/s is what it must read and write over the time that it takes, and stands beside the bandwidth of a
copy that was measured in the same run; TFLOP/s beside the rate of the library's bfloat16 product."""

_EPILOG: Final = """\
examples:
  python -m harmony.kernels.check --json h200.json        everything, and the table as JSON
  python -m harmony.kernels.check --model 20b --batch 1   one model, one sequence
  python -m harmony.kernels.check --only expert           the kernels whose name contains "expert"
  python -m harmony.kernels.check --interpret             no GPU: are they right, on small sizes?

exit status: 0 every kernel is right, 1 one is wrong, 2 an error told in one line, 130 interrupted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel checked: its relative error and the one allowed; on a GPU its time and rates."""

    kernel: str
    model: str
    batch: int
    error: float
    allowed: float
    microseconds: float | None = None
    gigabytes_a_second: float | None = None
    of_copy: float | None = None
    teraflops: float | None = None
    of_product: float | None = None

    @property
    def right(self) -> bool:
        return self.error <= self.allowed


@dataclass(frozen=True, slots=True)
class Device:
    """The card, what runs it, and the limits measured on it; microseconds of an empty node of a graph."""

    card: str
    compute_capability: str
    cuda: str | None
    torch: str
    triton: str
    copy_gigabytes_a_second: float
    product_teraflops: float
    empty_node: float
    empty_dependent_node: float | None


@dataclass(frozen=True, slots=True)
class Layer:
    """A model's decode kernels, one after the other as in a layer: microseconds with and without overlap."""

    model: str
    batch: int
    one_after_another: float
    dependent: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the kernels that the options choose; the result is the exit status."""
    return exit_status(lambda: check(_parser().parse_args(arguments)))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harmony.kernels.check",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--model", choices=("20b", "120b"), help="the sizes of one model; both if left out")
    parser.add_argument(
        "--batch", type=int, choices=BATCHES, help="one number of sequences; all of them if left out"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels whose name contains this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write device and table to this file too")
    parser.add_argument(
        "--interpret",
        action="store_true",
        help="run in Triton's interpreter on the CPU: small sizes, correctness alone, no GPU needed",
    )
    return parser


def check(options: argparse.Namespace) -> int:
    """Print a line for each kernel as it is done; raises UsageError where nothing can be checked."""
    if options.interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    _require(options.interpret)
    if options.json is not None:
        _write(options.json, "")  # now, not after minutes of measuring
    import torch

    torch.manual_seed(0)
    if options.interpret:
        rows = list(_shown(_interpreted(options)))
        document: dict[str, object] = {"interpreted": True}
    else:
        with torch.device("cuda"):
            device = _device()
            print(_about(device))
            rows = list(_shown(_measured(options, device)))
            layers = list(_layers(options))
        document = {"device": asdict(device), "layers": [asdict(layer) for layer in layers]}
    if not rows:
        raise UsageError("these options choose no kernel; leave --only, --model and --batch out to see all")
    if options.json is not None:
        document |= {"arguments": sys.argv[1:], "kernels": [asdict(row) for row in rows]}
        _write(options.json, json.dumps(document, indent=1) + "\n")
    wrong = [row for row in rows if not row.right]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right")
    return WRONG if wrong else RIGHT


def _require(interpret: bool) -> None:
    try:
        import torch
        import triton  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed: pip install torch triton numpy") from None
    if not interpret and not torch.cuda.is_available():
        raise UsageError(
            "torch sees no GPU here; run this on a machine with one, or add --interpret to check correctness"
        )


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _chosen(options: argparse.Namespace) -> Iterator[tuple["Sizes", int]]:
    from harmony.kernels.triton.cases import GPT_OSS_20B, GPT_OSS_120B, SMALL

    models = (SMALL,) if options.interpret else (GPT_OSS_20B, GPT_OSS_120B)
    batches = (1, 4, 16) if options.interpret else BATCHES
    for sizes in models:
        for batch in batches:
            if options.model in (None, sizes.name) and options.batch in (None, batch):
                yield sizes, batch


def _cases(options: argparse.Namespace) -> Iterator[tuple[str, "Sizes", int, "Case"]]:
    from harmony.kernels.triton.cases import cases

    for sizes, batch in _chosen(options):
        for name, make in cases(sizes, batch).items():
            if options.only in name:
                yield name, sizes, batch, make()


def _interpreted(options: argparse.Namespace) -> Iterator[Row]:
    for name, sizes, batch, case in _cases(options):
        yield Row(name, sizes.name, batch, case.error(), case.allowed)


def _measured(options: argparse.Namespace, device: Device) -> Iterator[Row]:
    from harmony.kernels.triton.timing import seconds

    for name, sizes, batch, case in _cases(options):
        error, taken = case.error(), seconds(case.run, STEPS)
        gigabytes, teraflops = case.moved / taken / 1e9, case.operations / taken / 1e12
        yield Row(
            name,
            sizes.name,
            batch,
            error,
            case.allowed,
            taken * 1e6,
            gigabytes,
            gigabytes / device.copy_gigabytes_a_second,
            teraflops,
            teraflops / device.product_teraflops,
        )


def _device() -> Device:
    import torch
    import triton

    from harmony.kernels.triton.launch import one_after_another, starts_dependents
    from harmony.kernels.triton.timing import copy_bandwidth, empty_node, product_rate

    with one_after_another():
        alone = empty_node()
    major, minor = torch.cuda.get_device_capability()
    return Device(
        card=torch.cuda.get_device_name(),
        compute_capability=f"{major}.{minor}",
        cuda=torch.version.cuda,
        torch=torch.__version__,
        triton=triton.__version__,
        copy_gigabytes_a_second=copy_bandwidth() / 1e9,
        product_teraflops=product_rate() / 1e12,
        empty_node=alone * 1e6,
        empty_dependent_node=empty_node() * 1e6 if starts_dependents() else None,
    )


def _layers(options: argparse.Namespace) -> Iterator[Layer]:
    """What dependent launches gain over a layer's decode kernels, where the device has them."""
    from harmony.kernels.triton.cases import cases
    from harmony.kernels.triton.launch import one_after_another, starts_dependents
    from harmony.kernels.triton.timing import seconds

    if options.only or not starts_dependents():
        return
    for sizes, batch in _chosen(options):
        decoded = [case for make in cases(sizes, batch).values() if (case := make()).decodes]
        chain = _chain([case.run for case in decoded])
        with one_after_another():
            alone = seconds(chain, STEPS)
        layer = Layer(sizes.name, batch, alone * 1e6, seconds(chain, STEPS) * 1e6)
        print(
            f"{len(decoded)} kernels of a layer, {layer.model} batch {layer.batch}: "
            f"{layer.one_after_another:.1f} µs one after another, {layer.dependent:.1f} µs dependent",
            flush=True,
        )
        yield layer


def _chain(runs: Sequence[Callable[[int], object]]) -> Callable[[int], object]:
    def run(step: int) -> None:
        for one in runs:
            one(step)

    return run


def _about(device: Device) -> str:
    dependent = device.empty_dependent_node
    return (
        f"{device.card}, compute capability {device.compute_capability}, CUDA {device.cuda}, "
        f"torch {device.torch}, triton {device.triton}\n"
        f"copy {device.copy_gigabytes_a_second:.0f} GB/s, "
        f"bfloat16 product {device.product_teraflops:.0f} TFLOP/s, "
        f"empty graph node {device.empty_node:.2f} µs"
        + ("" if dependent is None else f", as a dependent launch {dependent:.2f} µs")
    )


def _shown(rows: Iterator[Row]) -> Iterator[Row]:
    """Print each row when it is there."""
    print(f"{'kernel':26} model  batch     error  allowed       µs    GB/s  of copy  TFLOP/s  of GEMM")
    for row in rows:
        line = f"{row.kernel:26} {row.model:5} {row.batch:6} {row.error:9.1e} {row.allowed:8.1e}"
        if row.microseconds is not None:
            line += f" {row.microseconds:8.1f} {row.gigabytes_a_second:7.0f} {row.of_copy:8.0%}"
            line += f" {row.teraflops:8.2f} {row.of_product:8.1%}"
        print(line if row.right else f"{line}  WRONG", flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(as_process(main))
