"""Products of MXFP4 matrices by ggml, llama.cpp's own kernels, on rows that it has repacked."""

import ctypes
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LIBRARIES = {"llama_cpp": "lib/libggml.so", "xllamacpp": "xllamacpp.abi3.so"}
MXFP4, F32, CPU = 39, 0, 0  # ggml's types of numbers and of devices
ADDRESSES = (  # of functions that give one
    "ggml_init",
    "ggml_new_tensor_2d",
    "ggml_mul_mat",
    "ggml_new_graph",
    "ggml_backend_dev_by_type",
    "ggml_backend_dev_backend_reg",
    "ggml_backend_dev_init",
    "ggml_backend_reg_get_proc_address",
    "ggml_backend_alloc_ctx_tensors_from_buft",
    "ggml_backend_alloc_ctx_tensors",
)
_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SILENT = _Log(lambda level, text, data: None)
_BufferTypes = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)


def found(packages: tuple[str, ...] = tuple(LIBRARIES)) -> Path | None:
    """The library of the first of these packages that is installed: llama-cpp-python's fits this CPU."""
    for name in packages:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).parent / LIBRARIES[name]
    return None


def ggml_blocks(blocks: Tensor, scales: Tensor) -> Tensor:
    """MXFP4 as ggml orders it, uint8 [..., in / 32, 17]: a block's scale, then its first half in low nibbles.

    `blocks` are uint8 [..., in / 32, 16], `scales` [..., in / 32].
    """
    values = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2)
    halves = values[..., :16] | values[..., 16:] << 4
    return torch.cat((scales[..., None], halves), -1)


class RepackedProducts:
    """Matrices uint8 [E, out, in / 32, 16] with scales [E, out, in / 32], each by a vector of `x` [E, in]."""

    def __init__(self, library: Path, blocks: Tensor, scales: Tensor, x: Tensor, threads: int) -> None:
        self._call = _loaded(library)
        (count, rows), width = blocks.shape[:2], x.shape[1]
        weights = self._context(count)
        matrices = [self._matrix(weights, MXFP4, width, rows) for _ in range(count)]
        device = _address(self._call.ggml_backend_dev_by_type(CPU))
        self._call.ggml_backend_alloc_ctx_tensors_from_buft(weights, self._repacking(device))
        for matrix, block, scale in zip(matrices, blocks, scales, strict=True):
            self._set(matrix, ggml_blocks(block, scale))
        self._backend = _address(self._call.ggml_backend_dev_init(device, None))
        self._call.ggml_backend_cpu_set_n_threads(self._backend, threads)
        work = self._context(2 * count)
        vectors = [self._matrix(work, F32, width, 1) for _ in range(count)]
        self._products = [
            _address(self._call.ggml_mul_mat(work, matrix, vector))
            for matrix, vector in zip(matrices, vectors, strict=True)
        ]
        self._graph = _address(self._call.ggml_new_graph(work))
        for product in self._products:
            self._call.ggml_build_forward_expand(self._graph, product)
        self._call.ggml_backend_alloc_ctx_tensors(work, self._backend)
        for vector, values in zip(vectors, x.float(), strict=True):
            self._set(vector, values)
        self._outputs = torch.empty(count, rows)

    def __call__(self) -> Tensor:
        """The products float32 [E, out]."""
        status = self._call.ggml_backend_graph_compute(self._backend, self._graph)
        assert status == 0, status
        for product, row in zip(self._products, self._outputs, strict=True):
            size = ctypes.c_size_t(row.nbytes)
            self._call.ggml_backend_tensor_get(product, _address(row.data_ptr()), ctypes.c_size_t(0), size)
        return self._outputs

    def _repacking(self, device: ctypes.c_void_p) -> ctypes.c_void_p:
        """The type of buffer that repacks what is written to it."""
        registry = _address(self._call.ggml_backend_dev_backend_reg(device))
        listed = self._call.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        for kind in takewhile(bool, _BufferTypes(listed)(device)):
            if self._call.ggml_backend_buft_name(_address(kind)) == b"CPU_REPACK":
                return _address(kind)
        raise SystemExit("this ggml was built without repacking: build it with GGML_CPU_REPACK=ON")

    def _context(self, tensors: int) -> ctypes.c_void_p:
        return _address(self._call.ggml_init(_Room(1024 * tensors + (1 << 20), None, True)))

    def _matrix(self, context: ctypes.c_void_p, kind: int, columns: int, rows: int) -> ctypes.c_void_p:
        size = ctypes.c_int64(columns), ctypes.c_int64(rows)
        return _address(self._call.ggml_new_tensor_2d(context, kind, *size))

    def _set(self, tensor: ctypes.c_void_p, values: Tensor) -> None:
        size = ctypes.c_size_t(values.nbytes)
        self._call.ggml_backend_tensor_set(tensor, _address(values.data_ptr()), ctypes.c_size_t(0), size)


class _Room(ctypes.Structure):
    """ggml_init_params: memory for the descriptions of tensors alone."""

    _fields_ = (("size", ctypes.c_size_t), ("at", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def _loaded(library: Path) -> Any:
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_log_set(_SILENT, None)
    for name in ADDRESSES:
        getattr(ggml, name).restype = ctypes.c_void_p
    ggml.ggml_backend_buft_name.restype = ctypes.c_char_p
    ggml.ggml_init.argtypes = [_Room]
    return ggml


def _address(value: int | None) -> ctypes.c_void_p:
    assert value, "ggml gave nothing"
    return ctypes.c_void_p(value)
