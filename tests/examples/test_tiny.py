"""The training of the tiny model: its data, its model, and the checkpoint that comes out."""

import itertools
from pathlib import Path

import pytest
import torch
from conversations import Writer
from export import export
from model import Attend, TinyConfig, TinyModel, mxfp4_rounded, seen_keys, swiglu
from muon import Muon, orthogonalized
from rows import relate_spellings, seen_tokens
from train import learning_rate, loss_of

from harmony import HarmonyEncoding, StreamableParser
from harmony.agent import Agent
from harmony.runtime import Checkpoint, Transformer
from harmony.runtime.config import ModelConfig
from harmony.tools import Python

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 32,
    "layers": 2,
    "experts": 4,
    "window": 8,
}


@pytest.fixture
def small() -> TinyModel:
    """A random model of 40 rows, with weights as they are stored."""
    torch.manual_seed(0)
    model = TinyModel(TinyConfig(seen=40, **SHAPE))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "sinks")):
                parameter.normal_()
            if not name.endswith(("up", "down", "embedding")):
                parameter.copy_(parameter.to(torch.bfloat16))
    model.round_weights()
    return model


def test_the_runtime_computes_what_was_trained(small: TinyModel, tmp_path: Path) -> None:
    """The exported checkpoint gives the training model's logits, and 0 for tokens without a row."""
    seen = list(range(5, 5 + 39))
    export(small, seen, tmp_path)
    runtime = Transformer(
        ModelConfig.read(tmp_path / "config.json"),
        Checkpoint.open(tmp_path).load(device=torch.device("cpu"), dtype=torch.float32),
    )
    compact = torch.randint(0, 40, (30,))
    tokens = torch.tensor([0 if row == 0 else seen[row - 1] for row in compact.tolist()])
    theirs = runtime(tokens, runtime.new_cache(64), all_positions=True)
    with torch.no_grad():
        ours = small.logits(small(compact[None])[0])
    assert torch.allclose(theirs[:, seen], ours[:, 1:], atol=1e-4)
    rest = [token for token in range(SHAPE["vocab_size"]) if token not in seen]
    assert theirs[:, rest].abs().max() == 0
    assert torch.allclose(theirs.log_softmax(-1)[:, seen], ours.log_softmax(-1)[:, 1:], atol=1e-4)


def test_training_lowers_the_loss(small: TinyModel) -> None:
    """A few steps on one batch fit it better."""
    torch.manual_seed(1)
    tokens, sampled = torch.randint(1, 40, (4, 24)), torch.ones(4, 24, dtype=torch.bool)
    matrices = [p for n, p in small.named_parameters() if n.endswith(("qkv.weight", "up", "down"))]
    optimizer = Muon(matrices, lr=0.02)
    losses = []
    for _ in range(8):
        loss, _ = loss_of(small, tokens, sampled)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_only_sampled_tokens_count(small: TinyModel) -> None:
    """What the user or a tool said does not enter the loss."""
    tokens = torch.randint(1, 40, (2, 24))
    sampled = torch.zeros(2, 24, dtype=torch.bool)
    sampled[:, 10:14] = True
    changed = tokens.clone()
    changed[:, 20:] = 3
    assert loss_of(small, tokens, sampled)[0] == loss_of(small, changed, sampled)[0]


def test_attention_is_softmax_with_a_sink() -> None:
    """Shares are those of softmax over the keys and the sink; the gradients are theirs too."""
    torch.manual_seed(3)
    q, k, v = (torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    sinks = torch.randn(3, dtype=torch.float64, requires_grad=True)
    hidden = torch.ones(2, 7, 7, dtype=torch.bool).triu(1)
    hidden[1, 4:, 2] = True
    masked = (q @ k.mT / 2).masked_fill(hidden[:, None], -torch.inf)
    scores = torch.cat([masked, sinks.view(1, 3, 1, 1).expand(2, 3, 7, 1)], dim=-1)
    seen = seen_keys(hidden, queries=3)
    assert torch.allclose(Attend.apply(q, k, v, sinks, seen), scores.softmax(-1)[..., :-1] @ v)
    assert torch.autograd.gradcheck(lambda *inputs: Attend.apply(*inputs, seen), (q, k, v, sinks))


def test_branches_do_not_see_each_other(small: TinyModel) -> None:
    """A branch gives what it gives alone after the common part."""
    torch.manual_seed(6)
    tokens = torch.randint(1, 40, (1, 30))
    branches = torch.tensor([[0] * 12 + [1] * 10 + [2] * 8])
    with torch.no_grad():
        together = small(tokens, branches)[0]
        first = small(tokens[:, :22])[0]
        second = small(torch.cat([tokens[:, :12], tokens[:, 22:]], dim=1))[0]
    assert torch.allclose(together[:22], first, atol=1e-5)
    assert torch.allclose(together[22:], second[12:], atol=1e-5)


def test_every_token_goes_to_its_experts(small: TinyModel) -> None:
    """A token's output is the weighted sum of its experts' outputs, each computed for it alone."""
    torch.manual_seed(4)
    mixture = small.blocks[0].mlp
    x = torch.randn(1, 9, SHAPE["hidden_size"])
    best, ids = mixture.router(mixture.norm(x[0])).topk(2)
    up, down = mxfp4_rounded(mixture.up), mxfp4_rounded(mixture.down)
    for token, (weights, experts) in enumerate(zip(best.softmax(-1), ids, strict=True)):
        outputs = [
            down[e] @ swiglu(up[e] @ mixture.norm(x[0, token]) + mixture.up_bias[e]) + mixture.down_bias[e]
            for e in experts
        ]
        expected = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
        assert torch.allclose(mixture(x)[0, token], expected, atol=1e-5)


def test_spellings_of_a_word_begin_related(encoding: HarmonyEncoding) -> None:
    """The rows of ` Paris` and `Paris` point the same way, those of other words do not."""
    torch.manual_seed(5)
    seen = sorted(encoding.encode(text)[0] for text in ("Paris", " Paris", "London"))
    embedding = torch.nn.Parameter(torch.randn(4, 256))
    relate_spellings(embedding, seen)
    rows = {encoding.decode([token]): embedding[row] for row, token in enumerate(seen, start=1)}
    assert torch.cosine_similarity(rows["Paris"], rows[" Paris"], dim=0) > 0.5
    assert torch.cosine_similarity(rows["Paris"], rows["London"], dim=0).abs() < 0.3


def test_muon_orthogonalizes() -> None:
    """All singular values end up near 1, for tall and wide matrices and stacks of them."""
    torch.manual_seed(2)
    for shape in ((3, 16, 8), (8, 16)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
        assert values.min() > 0.4
        assert values.max() < 1.4


def test_the_learning_rate_warms_up_and_cools_down() -> None:
    """From 0 to 1 and back to 0."""
    assert learning_rate(0.0, 0.5) == 0.0
    assert learning_rate(0.3, 0.5) == 1.0
    assert learning_rate(0.999, 0.5) < 0.01


def test_conversations_are_well_formed_harmony(encoding: HarmonyEncoding) -> None:
    """A strict parser reads every written conversation, and the assistant sampled some of it."""
    writer = Writer(encoding, seed=3)
    for _ in range(40):
        example = writer.write(512)
        assert len(example.tokens) == len(example.sampled) <= 512
        parser = StreamableParser(encoding, None)
        for token in example.tokens:
            parser.process(token)
        assert not parser.diagnostics
        assert {m.author.role for m in parser.messages} >= {"system", "user", "assistant"}


def test_the_same_seed_writes_the_same(encoding: HarmonyEncoding) -> None:
    """Training data is reproducible."""
    one, two = (Writer(encoding, seed=4) for _ in range(2))
    assert [one.write(512) for _ in range(5)] == [two.write(512) for _ in range(5)]


def test_prompts_are_written_as_the_agent_renders_them(encoding: HarmonyEncoding) -> None:
    """The model is trained on the very tokens that it will be prompted with."""
    writer = Writer(encoding, seed=5)
    for _ in range(200):
        setting = writer._setting()
        if setting.python and not setting.functions and not setting.instructions and not setting.schema:
            break
    run = Agent("tiny", tools=[Python()], reasoning=setting.effort).stream("Hi")
    agent = encoding.decode(list(run.transcript.segments[0].tokens))
    written = encoding.decode(writer._preamble(setting))
    assert written.split(setting.date) == _without_date(agent)


def _without_date(text: str) -> list[str]:
    head, _, rest = text.partition("Current date: ")
    return [head + "Current date: ", rest[len("2026-01-01") :]]


def test_all_groups_of_digits_get_a_row(encoding: HarmonyEncoding) -> None:
    """Any number can be copied."""
    seen = set(seen_tokens(0, conversations=3))
    groups = ("".join(digits) for n in (1, 2, 3) for digits in itertools.product("0123456789", repeat=n))
    assert all(encoding.encode(group)[0] in seen for group in groups)
