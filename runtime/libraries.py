"""The machine code of torch, loaded before Python asks for it."""

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path


def load_torch_ahead() -> None:
    """Load torch's largest library, a fifth of what `import torch` takes, while other threads run Python.

    The import would hold Python's lock meanwhile; it then finds the library there. It is loaded as the import
    would, after those that all may see. What is not where torch's wheels for Linux have it is left to the
    import, and so are builds for a GPU, which come with more libraries, in an order of their own.
    """
    torch = None if "torch" in sys.modules else find_spec("torch")
    if torch is None or torch.origin is None:
        return
    folder, load = Path(torch.origin).with_name("lib"), ctypes.CDLL(None).dlopen
    if any([*folder.glob(f"libtorch_{device}*")] for device in ("cuda", "hip", "xpu")):
        return
    load(os.fsencode(folder / "libtorch_global_deps.so"), os.RTLD_NOW | os.RTLD_GLOBAL)
    load(os.fsencode(folder / "libtorch_cpu.so"), os.RTLD_NOW)
