"""The options of `python -m harmony.runtime.bench`, and which of them go together."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from harmony.command_line import Parser, positive
from harmony.errors import UsageError
from harmony.kernels.cpu import FEW_ROWS, level
from harmony.runtime.bench.shapes import SHAPES
from harmony.runtime.llama_cpp import MATRICES

PACKAGES = {"llama.cpp": ("llama_cpp", "llama-cpp-python"), "transformers": ("transformers", "transformers")}

_DESCRIPTION = """\
The speed of a model on this machine, beside what the machine allows.

Without --shape a checkpoint runs on the CPU: a random one is written, unless one lies in --folder, loaded and
measured, beside the bandwidth and the matrix product of torch in the same run. With --shape random weights
are made on --device, or those of --folder are loaded there, which is measured, too, and the engine is
measured from outside: tokens a second for each of --batches and --contexts beside the roofline, which is the
bandwidth of the same run over the bytes of a step; prefill beside the rate of a matrix product; a resumed
turn; constrained decoding; idle gaps; memory."""

_EPILOG = """\
examples:
  python -m harmony.runtime.bench                               four layers as wide as gpt-oss, on the CPU
  python -m harmony.runtime.bench --layers 24 --experts 32 --vocab 201088 --folder bench20b
                                                                all of gpt-oss-20b; writes 13.8 GB, once
  python -m harmony.runtime.bench --vs llama.cpp --threads 2    beside llama.cpp, in turns
  python -m harmony.runtime.bench --device cuda --json h200.json   the engine on a GPU, at the size of 20b
  python -m harmony.runtime.bench --device cuda --shape 120b --check   are its logits right?

exit status: 0 measured, 1 --check found wrong logits, 2 an error told in one line, 130 interrupted."""


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for. Raises UsageError."""
    options = _parser().parse_args(arguments)
    options.command = [*arguments]
    if options.device.type != "cpu" and not options.shape:
        options.shape = "20b"
    if options.profile and (options.shape or level() == "torch" or options.profile > FEW_ROWS):
        raise UsageError(f"--profile takes up to {FEW_ROWS} tokens of a checkpoint, and the kernels of a CPU")
    if options.together and options.tokens < 2:
        raise UsageError("--together counts the tokens after each one's first; raise --tokens to 2 or more")
    if options.vs and (options.vs == "llama.cpp") == bool(options.shape):
        raise UsageError(
            "--vs llama.cpp goes with a checkpoint on the CPU, transformers and URLs with --shape"
        )
    module, package = PACKAGES.get(options.vs, (None, None))
    if module is not None and find_spec(module) is None:
        raise UsageError(f"--vs {options.vs} needs it: pip install {package}")
    if not options.shape and (options.check or options.json or options.ranks > 1):
        raise UsageError("--check, --json and --ranks measure a --shape; name one")
    if options.json:
        _open(options.json)
    return options


def _parser() -> argparse.ArgumentParser:
    p = Parser(prog="python -m harmony.runtime.bench", description=_DESCRIPTION, epilog=_EPILOG)
    add = p.add_argument
    add("--folder", type=Path, help="where the checkpoint is or will stay (a temporary folder)")
    add("--tokens", type=positive, default=16, metavar="N", help="tokens decoded in each turn (16)")
    add("--turns", type=positive, default=5, metavar="N", help="turns whose medians are printed (5)")
    cores = torch.get_num_threads()
    add("--threads", type=positive, default=cores, metavar="N", help=f"of either side, on a CPU ({cores})")
    add("--vs", help="measure this one, too: llama.cpp, or with --shape transformers or a server's URL")
    add = p.add_argument_group("a checkpoint on the CPU").add_argument
    add("--layers", type=positive, default=4, metavar="N", help="layers of the random checkpoint (4)")
    add("--experts", type=_experts, default=8, metavar="N", help="experts of each layer (8)")
    add("--vocab", type=positive, default=32768, metavar="N", help="its tokens (32768)")
    add("--prompt", type=positive, default=512, metavar="N", help="tokens of its prompt (512)")
    add("--together", type=positive, default=0, metavar="N", help="sequences decoded together by the engine")
    add(
        "--profile", type=positive, default=0, metavar="N", help="time the parts of a decode step of N tokens"
    )
    add(
        "--history",
        type=positive,
        default=0,
        metavar="N",
        help="time the next turn of a conversation of N tokens",
    )
    add(
        "--gguf",
        choices=[*MATRICES],
        default="q8_0",
        help="what llama.cpp keeps attention and tables in (q8_0)",
    )
    add = p.add_argument_group("a shape on any device").add_argument
    add("--device", type=_device, default=torch.device("cpu"), help="cpu, cuda or cuda:N (cpu)")
    add("--shape", choices=[*SHAPES], help="measure the engine with random weights; on cuda, 20b if left out")
    add("--batches", type=_numbers, default=[1, 8, 32, 128], metavar="N,…", help="together (1,8,32,128)")
    add(
        "--contexts",
        type=_numbers,
        default=[1024, 8192, 65536],
        metavar="N,…",
        help="tokens before (1024,8192,65536)",
    )
    add("--ranks", type=positive, default=1, metavar="N", help="devices it is cut over, a process each")
    add("--embedding-on-host", action="store_true", help="leave the embedding out of the GPU's memory")
    add("--check", action="store_true", help="compare logits with plain torch in float32 instead")
    add("--json", type=Path, metavar="FILE", help="write the table to this file, too")
    return p


def _experts(text: str) -> int:
    count = positive(text)
    if count < 4:
        raise argparse.ArgumentTypeError(f"a token goes to 4 of them: {text}")
    return count


def _device(text: str) -> torch.device:
    try:
        device = torch.device(text)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:N: {text}")
    return device


def _open(file: Path) -> None:
    """Find out now whether it can be written, and not after minutes of measuring."""
    try:
        file.open("a").close()
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _numbers(text: str) -> list[int]:
    return [positive(number) for number in text.split(",")]
