"""Tensors on their way from mapped files to a device, with little memory besides what they end in.

Bytes are copied, and cast, into two pinned buffers in turn, and from there to the device while the other one
is filled. Experts are repacked on the device, a few at a time. Beside the final tensors a device holds at
most one slice of experts as the checkpoint has it and once more repacked: about twice the buffer's size,
or twice an expert's where that is more.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import torch
from torch import Tensor

from harmony.kernels.mxfp4 import BLOCK
from harmony.kernels.packed import PackedMatrix, pack

BUFFER = 64 << 20  # bytes of each of the two buffers, and of the experts that are repacked at once


class Staging:
    """Two buffers of `size` bytes between the host and a device; on a CPU they are not pinned."""

    def __init__(self, device: torch.device, size: int = BUFFER) -> None:
        self.device, self.size = device, size
        self._on_gpu = device.type == "cuda"
        buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=self._on_gpu) for _ in range(2)]
        events = [torch.cuda.Event() if self._on_gpu else None for _ in buffers]  # type: ignore[no-untyped-call]
        self._stream = torch.cuda.Stream(device) if self._on_gpu else None  # type: ignore[no-untyped-call]
        self._turns = cycle([*zip(buffers, events, strict=True)])

    @contextmanager
    def open(self) -> Iterator[None]:
        """Work on a stream of the device of its own; at the end all of it is done."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            yield
        if self._stream is not None:
            self._stream.synchronize()

    def place(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """On the device, as `dtype`: tensors of the host, joined along their first dimension."""
        rows = sum(len(part) for part in parts)
        whole = torch.empty(rows, *parts[0].shape[1:], dtype=dtype, device=self.device)
        for part, target in zip(parts, torch.split(whole, [len(part) for part in parts]), strict=True):
            self._send(part, target)
        return whole

    def repack(self, blocks: Tensor, scales: Tensor) -> PackedMatrix:
        """`harmony.kernels.packed.pack` on the device, of tensors of the host, by slices of experts."""
        experts, rows, count = scales.shape
        together = max(1, self.size // (blocks[0].nbytes + scales[0].nbytes))
        words = torch.empty(experts, -(-count // 2), rows, 8, dtype=torch.uint32, device=self.device)
        packed_scales = torch.empty(words.shape[:-1], dtype=torch.uint16, device=self.device)
        for start in range(0, experts, together):
            some = slice(start, start + together)
            self._repack(blocks[some], scales[some], words[some], packed_scales[some])
        return PackedMatrix(words, packed_scales, rows, count * BLOCK)

    def keep(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """On the host, as `dtype`, in pinned memory where that speeds up its copies to the device."""
        if not self._on_gpu:
            return tensor.to(dtype)
        return torch.empty(tensor.shape, dtype=dtype, pin_memory=True).copy_(tensor)

    def _repack(self, blocks: Tensor, scales: Tensor, words: Tensor, packed_scales: Tensor) -> None:
        matrix = pack(self.place([blocks], torch.uint8), self.place([scales], torch.uint8))
        words.view(torch.int32).copy_(matrix.words.view(torch.int32))
        packed_scales.view(torch.int16).copy_(matrix.scales.view(torch.int16))

    def _send(self, source: Tensor, target: Tensor) -> None:
        """Copy, in pieces that fit a buffer, into a contiguous tensor of the device."""
        fitting = self.size // target.element_size()
        if target.numel() <= fitting:
            self._send_at_once(source, target)
        elif len(target) == 1:
            self._send(source[0], target[0])
        else:
            rows = max(1, fitting // (target.numel() // len(target)))
            for piece, place in zip(torch.split(source, rows), torch.split(target, rows), strict=True):
                self._send(piece, place)

    def _send_at_once(self, source: Tensor, target: Tensor) -> None:
        buffer, sent = next(self._turns)
        staged = buffer[: target.nbytes].view(target.dtype).view(target.shape)
        if sent is not None:
            sent.synchronize()  # what was in it before has reached the device
        staged.copy_(source)
        target.copy_(staged, non_blocking=True)
        if sent is not None:
            sent.record()
