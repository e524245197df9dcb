"""How much memory a model needs, estimated before it is loaded, and how much is free."""

from dataclasses import dataclass
from pathlib import Path

import torch

from harmony.errors import NotEnoughMemoryError
from harmony.kernels.attention import MOST_SCORES
from harmony.runtime.config import ModelConfig
from harmony.runtime.layout import tensors
from harmony.runtime.pages import PAGE, pages_of
from harmony.runtime.token_table import WORD

STEP_TOKENS = 512  # that one step reads at most
KERNELS_STEP_TOKENS = 2048  # in the kernels of a GPU: weights are read seldom, and experts have many rows
CPU_SEQUENCES = 16  # that one step reads tokens of at most, unless asked otherwise
GPU_SEQUENCES = 128
RESUME_POINTS = 32  # whose windows of the sliding layers can be kept at least
MOST_RUNS = 64  # that attention to one context is cut into on a GPU
GPU_RESERVE = 256 << 20  # for CUDA itself, the workspace of cuBLAS and gaps in torch's memory; not measured
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


def default_sequences(device: torch.device) -> int:
    """How many sequences a step reads on `device` unless asked otherwise.

    On a GPU each one more costs little time, since the weights are read once for all of them; on a CPU
    products of many rows take longer, and each would only be slower.
    """
    return GPU_SEQUENCES if device.type == "cuda" else CPU_SEQUENCES


def step_tokens(packed: bool) -> int:
    """How many tokens one step reads at most, in the kernels of a GPU or elsewhere."""
    return KERNELS_STEP_TOKENS if packed else STEP_TOKENS


def page_counts(
    config: ModelConfig, context_length: int, max_sequences: int, *, packed: bool
) -> tuple[int, int]:
    """How many pages a cache has: of the full layers for one whole context, which many can share, and of
    the sliding layers for a step of `max_sequences` and for RESUME_POINTS besides."""
    window = pages_of(config.sliding_window - 1) + 1
    step = max_sequences * (window + 1) + step_tokens(packed) // PAGE
    return pages_of(context_length), step + RESUME_POINTS * window


def estimate(
    config: ModelConfig,
    context_length: int,
    dtype: torch.dtype,
    *,
    max_sequences: int = CPU_SEQUENCES,
    packed: bool = False,
    embedding_on_host: bool = False,
) -> MemoryEstimate:
    """What a model of this configuration takes where it computes, everything but the experts in `dtype`.

    `max_sequences` are read together in a step at most. `packed` is a model on a GPU, whose kernels read
    experts and pages where they lie and so work in less memory; `embedding_on_host` leaves the embedding
    out. What loading takes besides (`harmony.runtime.streaming`) is less than the cache and the work, which
    come after it.
    """
    size = dtype.itemsize
    token = 2 * config.kv_size  # numbers that one layer caches for a token
    full, sliding = page_counts(config, context_length, max_sequences, packed=packed)
    windows = [config.window(layer) for layer in range(config.num_hidden_layers)]
    pages = sum(full if window is None else sliding for window in windows)
    rows = min(step_tokens(packed), context_length * max_sequences)
    activations = rows * (_kernels_row(config) if packed else _activations(config))
    logits = 4 * (2 * max_sequences + 8) * config.vocab_size  # in sampling too
    kernels = (
        _kernels_work(config, context_length, max_sequences)
        if packed
        else _reference_work(config, context_length, size)
    )
    resident = [
        spec for spec in tensors(config) if not (embedding_on_host and spec.name == "embedding.weight")
    ]
    return MemoryEstimate(
        weights=sum(spec.nbytes(dtype, repacked=packed) for spec in resident),
        cache=pages * PAGE * token * size,
        work=kernels + activations + logits,
    )


def decode_inputs(config: ModelConfig, context_length: int, max_sequences: int) -> int:
    """Bytes of what the decode steps read (`harmony.runtime.decoding`), one step for each power of two of
    sequences: two tables of pages, a grammar's mask and four numbers a row. The host has twice as many."""
    words = -(-config.vocab_size // WORD)
    row = 4 * (2 * pages_of(context_length) + words) + 28
    return _graph_rows(max_sequences) * row


def _activations(config: ModelConfig) -> int:
    """Bytes of a row between the matrices of a layer: an allowance, not measured."""
    return 4 * 8 * (config.hidden_size + config.attention_size + config.intermediate_size)


def _kernels_row(config: ModelConfig) -> int:
    """Bytes of a row of a prompt in the Triton kernels: what each of its experts finds in float32, and
    their activations; the residual stream, and its sums and copies."""
    expert = 4 * config.hidden_size + 2 * config.intermediate_size
    return config.experts_per_token * expert + 20 * config.hidden_size


def _graph_rows(max_sequences: int) -> int:
    """Of all decode steps together."""
    return (2 << (max_sequences - 1).bit_length()) - 1


def _kernels_work(config: ModelConfig, context_length: int, max_sequences: int) -> int:
    """Of the Triton kernels: what runs of a context find of their own, before they are added up, and of
    the decode steps, whose graphs share no memory, the inputs and an allowance for what each keeps."""
    found = 4 * max_sequences * config.num_attention_heads * MOST_RUNS * (config.head_dim + 2)
    kept = _graph_rows(max_sequences) * _activations(config)
    return found + decode_inputs(config, context_length, max_sequences) + kept + GPU_RESERVE


def _reference_work(config: ModelConfig, context_length: int, size: int) -> int:
    """Of plain torch: keys and values out of their pages and in float32, scores, an expert unpacked."""
    seen = context_length * 2 * config.kv_size * (size + 4)
    expert = 3 * config.hidden_size * config.intermediate_size * (size + 4)  # with its indices
    return 4 * 3 * MOST_SCORES + seen + expert


def free_memory(device: torch.device) -> int:
    """Bytes that a new model may take on `device`: for the CPU what neither the machine nor the
    control group of this process needs for itself, page cache counted as free; for a GPU what nobody has
    taken, and what torch has taken from it and does not use."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    group = _group_room(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min(_available(Path("/proc/meminfo")), group)


def check_memory(
    config: ModelConfig,
    context_length: int,
    dtype: torch.dtype,
    free: int,
    place: str,
    *,
    max_sequences: int = CPU_SEQUENCES,
    packed: bool = False,
    embedding_on_host: bool = False,
) -> None:
    """Raise NotEnoughMemoryError, with the numbers and a way out, when the estimate exceeds `free` bytes."""

    def needed(
        length: int, sequences: int = max_sequences, on_host: bool = embedding_on_host
    ) -> MemoryEstimate:
        return estimate(
            config, length, dtype, max_sequences=sequences, packed=packed, embedding_on_host=on_host
        )

    def fewer(on_host: bool) -> int:
        """The most sequences that fit with the whole context; 0 if not even one does."""
        downward = range(max_sequences, 0, -1)
        return next((n for n in downward if needed(context_length, n, on_host).total <= free), 0)

    asked = needed(context_length)
    if asked.total <= free:
        return
    shorter = range(context_length // 1024 * 1024, 0, -1024)
    fitting = next((length for length in shorter if needed(length).total <= free), 0)
    can_move = packed and not config.tie_word_embeddings and not embedding_on_host
    moved = fewer(on_host=True) if can_move else 0
    if few := fewer(embedding_on_host):
        advice = f"load it with max_sequences={few} (--max-sequences {few}) or less"
        advice += ", or with embedding_on_host=True (--embedding-on-host)" * (moved == max_sequences)
    elif moved:
        advice = "load it with embedding_on_host=True (--embedding-on-host)"
        advice += f" and max_sequences={moved} (--max-sequences {moved})" * (moved < max_sequences)
    elif fitting:
        advice = f"load it with context_length={fitting} (--context {fitting}) or less"
    else:
        advice = "free some memory, or use a smaller model or another machine's server"
    raise NotEnoughMemoryError(
        f"the model needs about {_gib(asked.total)} ({_gib(asked.weights)} weights, {_gib(asked.cache)} "
        f"cache for {context_length} tokens, {_gib(asked.work)} work) and {_gib(free)} are free on {place}; "
        f"{advice}"
    )


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
