"""The paged cache and the batched step, against the cache of one sequence."""

import pytest
import torch
from torch import Tensor

from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch, CachedSequence, PagedCache, Part
from harmony.runtime.pages import PAGE

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def paged(model: Transformer, full: int = 64, sliding: int = 64) -> PagedCache:
    return PagedCache(model.config, full, sliding, dtype=model.dtype, device=model.device)


def opened(cache: PagedCache, tokens: list[int]) -> CachedSequence:
    sequence = cache.open(tokens)
    assert sequence is not None
    return sequence


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def step(model: Transformer, cache: PagedCache, *news: tuple[CachedSequence, list[int]]) -> Tensor:
    """Read new tokens of each sequence; the logits after all of them."""
    for sequence, tokens in news:
        assert sequence.extend(len(tokens))
    parts = [Part(sequence, tokens, len(tokens)) for sequence, tokens in news]
    logits = model(torch.tensor([t for _, tokens in news for t in tokens]), Batch(cache, parts))
    for sequence, tokens in news:
        sequence.advance(tokens)
    return logits


@pytest.mark.parametrize("chunk", [1, 7, 64, 129, 300])
def test_one_sequence_gives_the_very_logits(chunk: int, model: Transformer) -> None:
    """Pages change nothing, bit for bit, past the window and past pages, in chunks of any size."""
    tokens = prompt(300)
    cache, alone = paged(model), model.new_cache(300)
    sequence = opened(cache, tokens)
    for start in range(0, 300, chunk):
        piece = tokens[start : start + chunk]
        expected = model(torch.tensor(piece), alone, all_positions=True)
        assert torch.equal(step(model, cache, (sequence, piece)), expected)


def test_a_batch_mixes_prompts_and_single_tokens(model: Transformer) -> None:
    """Sequences of any length, some reading chunks and some one token, do not see each other."""
    prompts = [prompt(length, seed=length) for length in (5, 64, 200, 300)]
    caches = [model.new_cache(400) for _ in prompts]
    cache = paged(model)
    sequences = [opened(cache, tokens) for tokens in prompts]
    for chunks in ((5, 3, 150, 1), (1, 61, 1, 200), (1, 1, 1, 99), (1, 1, 1, 1)):
        news = []
        for sequence, tokens, chunk in zip(sequences, prompts, chunks, strict=True):
            start = len(sequence.tokens)
            news.append((sequence, (tokens + prompt(9, seed=1))[start : start + chunk]))
        expected = [
            model(torch.tensor(tokens), alone, all_positions=True)
            for (_, tokens), alone in zip(news, caches, strict=True)
        ]
        torch.testing.assert_close(step(model, cache, *news), torch.cat(expected), **CLOSE)


def test_sliding_layers_free_what_left_the_window(model: Transformer) -> None:
    """However long a sequence, it holds three of their pages between steps, and full pages for all of it."""
    cache = paged(model, full=40, sliding=5)
    sequence = opened(cache, prompt(10))
    for token in range(1, 1500):
        step_pages = sequence.extend(1)
        assert step_pages
        sequence.advance([token % 300])
        assert cache.sliding.size - cache.sliding.available <= 3
    assert cache.full.size - cache.full.available == -(-1499 // PAGE)


@pytest.mark.parametrize("length", [5, 63, 64, 65, 128, 200, 300])
@pytest.mark.parametrize("more", [1, 70])
def test_a_closed_sequence_is_resumed_at_its_end(length: int, more: int, model: Transformer) -> None:
    """All that was read need not be read again, and the logits that follow are those of one long reading."""
    tokens = prompt(length + more)
    cache = paged(model)
    first = opened(cache, tokens[:length])
    step(model, cache, (first, tokens[:length]))
    first.close()
    second = opened(cache, tokens)
    assert second.tokens == tokens[:length]
    expected = model(torch.tensor(tokens), model.new_cache(400), all_positions=True)[length:]
    torch.testing.assert_close(step(model, cache, (second, tokens[length:])), expected, **CLOSE)


def test_two_can_go_on_from_the_same_place(model: Transformer) -> None:
    """A page that is shared in part is copied: neither writes into what the other reads."""
    tokens = prompt(150)
    cache = paged(model)
    first = opened(cache, tokens)
    step(model, cache, (first, tokens))
    first.close()
    ways = [[*tokens, *prompt(20, seed=seed)] for seed in (1, 2)]
    both = [opened(cache, way) for way in ways]
    assert [len(sequence.tokens) for sequence in both] == [150, 150]
    for at in range(150, 170):
        logits = step(model, cache, *((s, way[at : at + 1]) for s, way in zip(both, ways, strict=True)))
    for row, way in enumerate(ways):
        expected = model(torch.tensor(way), model.new_cache(400))
        torch.testing.assert_close(logits[row], expected, **CLOSE)
