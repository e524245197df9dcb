"""Draw the next token from logits; pure functions on float32 logits [V]."""

import torch
from torch import Tensor

from harmony.runtime.generation import SamplingParams, TokenLogprob

NEVER = float("-inf")
_SMALLEST, _LARGEST = 1e-30, 1e30  # of parameters, as float32 has them
_BLOCK = 1024  # tokens


def new_generator(seed: int | None) -> torch.Generator:
    """A generator of its own, on the CPU for every device; None takes a fresh seed."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def sample(logits: Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """Draw a token id: temperature first, then top-k, top-p and min-p, each on what is left."""
    if params.temperature == 0:
        return argmax(logits)
    logits = logits - logits.amax()
    if params.temperature != 1:
        logits.div_(min(max(params.temperature, _SMALLEST), _LARGEST))
    if params.top_k:
        logits = keep_top_k(logits, params.top_k)
    if params.top_p < 1:
        logits = keep_top_p(logits, params.top_p)
    if params.min_p > 0:
        logits = keep_min_p(logits, params.min_p)
    return _draw(logits.exp_(), generator)


def argmax(logits: Tensor) -> int:
    """The first of the largest logits, which on a CPU numpy finds in a twentieth of the time of torch."""
    return int(logits.numpy().argmax() if logits.is_cpu else logits.argmax())


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest logits."""
    values, indices = torch.topk(logits, min(k, len(logits)))
    return torch.full_like(logits, NEVER).index_copy_(-1, indices, values)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens whose probabilities sum to at least `p`, the most likely first."""
    probabilities = logits.softmax(-1)
    # All tokens below this sum to less than 1 - p, so none is needed; sorting the rest alone is fast.
    likely = torch.nonzero(probabilities >= (1 - p) / len(logits)).flatten()
    ranked, order = probabilities[likely].sort(descending=True)
    kept = likely[order[ranked.cumsum(-1) - ranked < max(p, _SMALLEST)]]
    return torch.full_like(logits, NEVER).index_copy_(-1, kept, logits[kept])


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as likely as the most likely one (arXiv:2407.01082)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.max(), NEVER)


def logprobs(logits: Tensor, token: int, count: int) -> tuple[float, tuple[TokenLogprob, ...]]:
    """The natural log-probability of `token`, and the `count` most likely tokens with theirs."""
    scores = logits.log_softmax(-1)
    top = torch.topk(scores, min(count, len(scores)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return float(scores[token]), tuple(TokenLogprob(candidate, score) for candidate, score in pairs)


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """Invert the cumulative distribution at one uniform number: far cheaper than one for each token.

    Only of the block that the number falls into are all weights added up one by one.
    """
    ends = _block_sums(weights).cumsum(-1)
    point = torch.rand((), dtype=torch.float64, generator=generator).to(ends.device) * ends[-1]
    block = min(int(torch.searchsorted(ends, point, right=True)), len(ends) - 1)
    within = weights[block * _BLOCK : (block + 1) * _BLOCK].cumsum(-1, dtype=torch.float64)
    rest = point - ends[block - 1] if block else point
    place = int(torch.searchsorted(within, rest, right=True))
    if place == len(within):  # by rounding: the last one that is likely at all
        place = int(torch.searchsorted(within, within[-1]))
    return block * _BLOCK + place


def _block_sums(values: Tensor) -> Tensor:
    """The sums float64 of each `_BLOCK` values, the last of those that are left."""
    whole = len(values) // _BLOCK * _BLOCK
    blocks = values[:whole].view(whole // _BLOCK, _BLOCK).sum(-1, dtype=torch.float64)
    left = values[whole:].sum(dtype=torch.float64)
    return torch.cat((blocks, left[None])) if whole < len(values) else blocks
