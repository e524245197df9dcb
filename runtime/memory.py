"""How much memory a model needs, estimated before it is loaded, and how much is free."""

from dataclasses import dataclass
from pathlib import Path

import torch

from harmony.errors import NotEnoughMemoryError
from harmony.kernels.attention import MOST_SCORES
from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import tensors
from harmony.runtime.pages import PAGE, pages_of

STEP_TOKENS = 512  # that one step reads at most
MOST_SEQUENCES = 16  # that one step reads tokens of at most
RESUME_POINTS = 32  # whose windows of the sliding layers can be kept at least
GIB = 1 << 30
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes for the weights, for the pages of keys and values, and for one step's work."""

    weights: int
    cache: int
    work: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.work


def page_counts(config: ModelConfig, context_length: int) -> tuple[int, int]:
    """How many pages a cache has: of the full layers for one whole context, which many can share, and of
    the sliding layers for a step of MOST_SEQUENCES and for RESUME_POINTS besides."""
    window = pages_of(config.sliding_window - 1) + 1
    step = MOST_SEQUENCES * (window + 1) + STEP_TOKENS // PAGE
    return pages_of(context_length), step + RESUME_POINTS * window


def estimate(config: ModelConfig, context_length: int, dtype: torch.dtype) -> MemoryEstimate:
    """What a model of this configuration takes, experts packed and everything else in `dtype`."""
    size = dtype.itemsize
    token = 2 * config.kv_size  # numbers that one layer caches for a token
    full, sliding = page_counts(config, context_length)
    windows = [config.window(layer) for layer in range(config.num_hidden_layers)]
    pages = sum(full if window is None else sliding for window in windows)
    rows = min(STEP_TOKENS, context_length * MOST_SEQUENCES)
    seen = context_length * token * (size + 4)  # out of their pages, and in float32
    expert = 3 * config.hidden_size * config.intermediate_size * (size + 4)  # unpacked, with its indices
    activations = 4 * rows * 8 * (config.hidden_size + config.attention_size + config.intermediate_size)
    logits = 4 * (2 * MOST_SEQUENCES + 8) * config.vocab_size  # in sampling too
    return MemoryEstimate(
        weights=sum(spec.numel * (1 if spec.packed else size) for spec in tensors(config)),
        cache=pages * PAGE * token * size,
        work=4 * 3 * MOST_SCORES + seen + expert + activations + logits,
    )


def free_memory(device: torch.device) -> int:
    """Bytes that a new model may take on `device`: for the CPU what neither the machine nor the
    control group of this process needs for itself, page cache counted as free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    group = _group_room(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min(_available(Path("/proc/meminfo")), group)


def check_memory(config: ModelConfig, context_length: int, dtype: torch.dtype, free: int, place: str) -> None:
    """Raise NotEnoughMemoryError, with the numbers, when the estimate exceeds `free` bytes."""
    needed = estimate(config, context_length, dtype)
    if needed.total <= free:
        return
    fitting = _longest_context(config, context_length, dtype, free)
    advice = (
        f"load it with context_length={fitting} (--context {fitting}) or less"
        if fitting
        else "free some memory, or use a smaller model or another machine's server"
    )
    raise NotEnoughMemoryError(
        f"the model needs about {_gib(needed.total)} ({_gib(needed.weights)} weights, {_gib(needed.cache)} "
        f"cache for {context_length} tokens, {_gib(needed.work)} work) and {_gib(free)} are free on {place}; "
        f"{advice}"
    )


def _longest_context(config: ModelConfig, limit: int, dtype: torch.dtype, free: int) -> int:
    """The longest context that fits, in steps of 1024 tokens below `limit`; 0 when none does."""
    fits = (n for n in range(limit // 1024 * 1024, 0, -1024) if estimate(config, n, dtype).total <= free)
    return next(fits, 0)


def _available(meminfo: Path) -> int:
    lines = dict(line.split(":") for line in meminfo.read_text("ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _group_room(membership: Path, root: Path) -> int:
    """What the tightest limit among this process's control groups (version 2) leaves."""
    lines = membership.read_text().splitlines()
    own = [root / line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    groups = [group for leaf in own for group in (leaf, *leaf.parents) if group.is_relative_to(root)]
    return min((_room(group) for group in groups), default=NO_LIMIT)


def _room(group: Path) -> int:
    limit = group / "memory.max"
    if not limit.is_file() or limit.read_text().strip() == "max":
        return NO_LIMIT
    used = int((group / "memory.current").read_text())
    cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(limit.read_text()) - used + int(cached["file"])


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
