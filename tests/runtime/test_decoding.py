"""Decoding on the device, where the same code runs without a graph: its tokens, draws, masks and errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from harmony.errors import DeadEndError, EngineError
from harmony.kernels import triton
from harmony.kernels.sampling import sample
from harmony.runtime.backend import Model
from harmony.runtime.closing.guide import Guide
from harmony.runtime.config import ModelConfig
from harmony.runtime.constraint import Constraint
from harmony.runtime.decoding import Decoder, DecodeStep, Draw, Drawn, Input
from harmony.runtime.fused import FusedTransformer
from harmony.runtime.generation import SamplingParams
from harmony.runtime.grammars import Grammars
from harmony.runtime.memory import decode_inputs
from harmony.runtime.model import Transformer
from harmony.runtime.paged import Batch, PagedCache, Part
from harmony.runtime.pages import PAGE
from harmony.runtime.request import Request
from harmony.runtime.scheduler import Flight, Scheduler
from harmony.runtime.token_table import Mask, TokenTable, packed

GREEDY = SamplingParams(temperature=0)


@pytest.fixture(autouse=True)
def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(triton.CHOICE, "torch")


@pytest.fixture(scope="module")
def fused(config: ModelConfig, state: dict[str, Tensor]) -> FusedTransformer:
    """The weights of `model`, in float32."""
    return FusedTransformer(config, {k: v if v.dtype == torch.uint8 else v.float() for k, v in state.items()})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences each decode step reads."""
    counts: list[int] = []
    read = Decoder.read

    def counted(self: Decoder, parts: Sequence[Part]) -> DecodeStep:
        counts.append(len(parts))
        return read(self, parts)

    monkeypatch.setattr(Decoder, "read", counted)
    return counts


def paged(model: Model) -> PagedCache:
    return PagedCache(model.config, 64, 64, dtype=model.dtype, device=model.device)


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def asked(length: int, limit: int, sampling: SamplingParams = GREEDY) -> Request:
    return Request(prompt(length, seed=length), sampling, (), limit)


def served(model: Model, *requests: Request) -> list[list[int]]:
    scheduler = Scheduler(model, paged(model))
    for request in requests:
        scheduler.add(request)
    while not all(request.ended for request in requests):
        scheduler.step()
    return [[token.token for token in request.collect()] for request in requests]


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (3, [1, 2, 4]), (8, [1, 2, 4, 8])])
def test_inputs_are_counted_exactly(fused: FusedTransformer, most: int, sizes: list[int]) -> None:
    """The estimate of memory has the bytes that the steps of up to so many sequences read on the device."""
    steps = [DecodeStep(fused, paged(fused), size) for size in sizes]
    inputs = [value for step in steps for value in vars(step).values() if isinstance(value, Input)]
    taken = sum(value.tensor.nbytes for value in inputs)
    assert taken == decode_inputs(fused.config, 64 * PAGE, most)


def test_tokens_are_the_references(model: Transformer, fused: FusedTransformer, decoded: list[int]) -> None:
    """Of sequences of all lengths, past a window and pages, beside prompts and as others end before them."""
    sizes = ((3, 30), (62, 9), (127, 80), (300, 20), (700, 5))
    expected = served(model, *(asked(*size) for size in sizes))
    assert served(fused, *(asked(*size) for size in sizes)) == expected
    assert set(decoded) >= {1, 2, 3, 4}


def test_a_seed_gives_the_same_tokens_in_any_company(fused: FusedTransformer, decoded: list[int]) -> None:
    """Alone or beside others, drawn from logits beside a prompt or in a decode step."""
    sampling = SamplingParams(seed=7)
    [alone] = served(fused, asked(20, 25, sampling))
    others = [asked(length, 12, SamplingParams(seed=length)) for length in (5, 600, 1100)]
    assert served(fused, asked(20, 25, sampling), *others)[0] == alone
    assert served(fused, asked(20, 25, SamplingParams(seed=8)))[0] != alone
    assert {1, 2, 3, 4} >= set(decoded) > {1}


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(seed=3, top_p=0.9),
        SamplingParams(seed=3, top_k=5),
        SamplingParams(seed=3, min_p=0.1),
        SamplingParams(seed=3, logprobs=2),
    ],
)
def test_other_sampling_needs_logits(
    sampling: SamplingParams, model: Transformer, fused: FusedTransformer, decoded: list[int]
) -> None:
    """Filters and logprobs are the host's, with the tokens that the reference gives."""
    assert served(fused, asked(20, 9, sampling)) == served(model, asked(20, 9, sampling))
    assert decoded == []


def test_a_grammar_is_kept(fused: FusedTransformer, byte_grammars: Grammars, decoded: list[int]) -> None:
    """Every token obeys its mask, which the device reads, beside a request without one."""

    def constrained(seed: int) -> Request:
        constraint = Constraint(byte_grammars, 'start: /[a-c]{4,9}/ "!" <|end|>')
        sampling = SamplingParams(temperature=3, seed=seed)
        return Request(prompt(9), sampling, (256,), 40, constraint, Guide(constraint, 40))

    texts = served(fused, *(constrained(seed) for seed in range(4)), asked(9, 12, SamplingParams(seed=1)))
    for tokens in texts[:4]:
        assert tokens[-2:] == [33, 256]
        assert set(tokens[:-2]) <= set(b"abc")
    assert len({tuple(tokens) for tokens in texts[:4]}) == 4
    assert decoded


@dataclass(frozen=True)
class Shy:
    """A watch that objects to what comes after its letters, the less often the more it has seen."""

    seen: int = 0

    def after(self, token: int) -> "Shy | None":
        return None if token in range(117, 123) and self.seen % 3 else Shy(self.seen + 1)


class Cornered(Constraint):
    """Allows nothing from its twelfth token on, as where a mask lacks what the grammar takes."""

    def mask(self) -> Mask:
        if len(self.tokens) < 12:
            return super().mask()
        raise DeadEndError("nothing may follow")


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    """Over bytes, with an end that no grammar has."""
    special = {"<|end|>": 256, "<|eot|>": 299}
    return Grammars(
        TokenTable(
            {bytes([octet]): octet for octet in range(256)}, special, lambda text: [*text.encode()], 300, 299
        )
    )


WORDS = 'start: (/[a-z]{10,30}/ "=ok;"){1,4} <|end|>'


def held(kind: type[Constraint], grammars: Grammars, seed: int, limit: int = 90) -> Request:
    constraint = kind(grammars, WORDS, watch=Shy() if kind is Constraint else None)
    sampling = SamplingParams(temperature=3, seed=seed)
    return Request(prompt(9), sampling, (256,), limit, constraint, Guide(constraint, limit))


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What became of tokens behind which a step was begun."""
    counts: Counter[str] = Counter()
    refused = Scheduler._refused

    def counted(self: Scheduler, flight: Flight, drawing: Sequence[Request], drawn: Drawn) -> list[Request]:
        again = refused(self, flight, drawing, drawn)
        if self._flight is not None:
            counts["refused"] += len(again)
            counts["forced"] += sum(r.unread > 1 for r in drawing if r not in again and not r.ended)
            counts["taken"] += sum(r.unread == 1 for r in drawing if r not in again)
        return again

    monkeypatch.setattr(Scheduler, "_refused", counted)
    return counts


@pytest.mark.parametrize("kind", [Constraint, Cornered])
def test_a_grammar_gives_the_same_tokens_from_logits(
    kind: type[Constraint],
    fused: FusedTransformer,
    grammars: Grammars,
    behind: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone or together, with tokens refused and forced behind steps that were begun, and at dead ends."""
    seeds = range(4)
    alone = [served(fused, held(kind, grammars, seed))[0] for seed in seeds]
    together = served(fused, *(held(kind, grammars, seed) for seed in seeds))
    assert behind["taken"] > 20
    assert kind is Cornered or min(behind["refused"], behind["forced"]) > 0
    monkeypatch.setattr("harmony.runtime.scheduler._draws_on_device", lambda parts: False)
    assert alone == together == [served(fused, held(kind, grammars, seed))[0] for seed in seeds]
    for tokens in alone:
        Constraint(grammars, WORDS).accept(*tokens)
        assert kind is Constraint or bytes(tokens[:-1]).endswith(b"=ok;")


def test_a_dead_end_without_a_plan_fails_alone(fused: FusedTransformer, grammars: Grammars) -> None:
    """The error is its own, and the request beside it goes on with its tokens."""
    [expected] = served(fused, asked(20, 30))
    failing, other = held(Cornered, grammars, 1, limit=14), asked(20, 30)
    scheduler = Scheduler(fused, paged(fused))
    for request in (failing, other):
        scheduler.add(request)
    while not (failing.ended and other.ended):
        scheduler.step()
    assert len(failing.collect()) == 12
    with pytest.raises(DeadEndError):
        failing.collect()
    assert [token.token for token in other.collect()] == expected


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the device is told to read, and when the host waits for tokens."""
    events: list[str] = []
    read, tokens = DecodeStep.read, Drawn.tokens

    def reads(self: DecodeStep, parts: Sequence[Part], *, drawn: bool = False) -> None:
        events.append("drawn" if drawn else "read")
        read(self, parts, drawn=drawn)

    def told(self: Drawn) -> list[int]:
        events.append("told")
        return tokens(self)

    monkeypatch.setattr(DecodeStep, "read", reads)
    monkeypatch.setattr(Drawn, "tokens", told)
    return events


def test_a_mask_is_made_while_the_device_reads(
    fused: FusedTransformer, grammars: Grammars, monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    """Its step begins before; from the ninth sample on, before the token of the last one is known."""
    mask = Guide.mask

    def masks(self: Guide) -> Mask:
        events.append("mask")
        return mask(self)

    constraint = Constraint(grammars, "start: /[a-z]{12}/ <|end|>")
    guide = Guide(constraint, 90)
    monkeypatch.setattr(Guide, "mask", masks)
    served(fused, Request(prompt(9), SamplingParams(seed=2), (256,), 90, constraint, guide))
    first = ["mask"]  # from the logits of the prompt
    assert events[: 1 + 3 * 7] == first + ["read", "mask", "told"] * 7
    assert events[1 + 3 * 7 :][:8] == ["read", "mask", "drawn", "told", "mask", "drawn", "told", "mask"]


def test_draws_are_those_from_logits(model: Transformer, fused: FusedTransformer) -> None:
    """By temperature, seed and mask, as often as asked, and without a mask again."""
    step_of, parts = Decoder(fused, cache := paged(fused)), []
    reference, other = [], paged(model)
    for pool, made in ((cache, parts), (other, reference)):
        for seed in range(3):
            sequence = pool.open([seed, 5])
            assert sequence is not None
            assert sequence.extend(1)
            made.append(Part(sequence, [seed + 9], 1))
    logits = model(torch.tensor([9, 10, 11]), Batch(other, reference))
    step, few = step_of.read(parts), packed(range(20, 60), -(-300 // 32))
    for masks in ((None, few, None), (few, few, few), (None, None, None)):
        draws = [Draw(n * 2.0, 50 + n, mask) for n, mask in enumerate(masks)]
        every = [torch.full((10,), -1).int() if mask is None else torch.from_numpy(mask) for mask in masks]
        temperatures, seeds = torch.tensor([0.0, 2.0, 4.0]), torch.tensor([50, 51, 52])
        assert step.draw(draws).tokens() == sample(logits, temperatures, seeds, torch.stack(every)).tolist()


def test_a_step_begins_before_the_tokens_of_the_last_are_read(
    fused: FusedTransformer, events: list[str]
) -> None:
    """The device reads them where they were drawn; the last tokens of a request have nothing behind them."""
    served(fused, asked(5, 5), asked(9, 5))
    assert events == ["read", "drawn", "told", "drawn", "told", "drawn", "told", "told"]


@pytest.mark.parametrize("length", [20, 62, 125])
def test_what_was_begun_behind_a_stop_changes_nothing(
    length: int, model: Transformer, fused: FusedTransformer
) -> None:
    """The others go on, and so does a prompt that continues what was stopped, from its cache."""
    tokens = served(model, asked(length, 8))[0]
    stop, first = tokens[5], prompt(length, seed=length)
    longer = [*first, *tokens[: tokens.index(stop) + 1], 7, 8]
    results = []
    for either in (model, fused):
        scheduler = Scheduler(either, paged(either))
        stopped, other = Request(first, GREEDY, (stop,), 90), asked(40, 30)
        again = Request(longer, GREEDY, (), 70)
        scheduler.add(stopped)
        scheduler.add(other)
        while not stopped.ended:
            scheduler.step()
        scheduler.add(again)
        while not (other.ended and again.ended):
            scheduler.step()
        results.append([request.collect() for request in (stopped, other, again)])
    assert results[0] == results[1]


def test_in_triton(
    model: Transformer, fused: FusedTransformer, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt and a few tokens of two requests, in Triton's interpreter."""
    expected = served(model, asked(5, 3), asked(18, 3))
    monkeypatch.setenv(triton.CHOICE, "interpreted")
    assert served(fused, asked(5, 3), asked(18, 3)) == expected
    assert 2 in decoded


def test_damaged_weights(config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Where a decode step has no finite logits, no token is drawn, and the request ends with an error."""
    weights = {k: v if v.dtype == torch.uint8 else v.float() for k, v in state.items()}
    broken = FusedTransformer(config, weights)
    scheduler, request = Scheduler(broken, paged(broken)), asked(5, 9)
    scheduler.add(request)
    scheduler.step()
    broken.norm.fill_(float("nan"))
    scheduler.step()
    assert [token.finish_reason for token in request.collect()] == [None]
    with pytest.raises(EngineError, match="no finite logits"):
        request.collect()
