"""Train the bundled tiny model and write it as a checkpoint in the Hugging Face layout.

    python examples/tiny/train.py --minutes 60 --out runtime/tiny

Runs on a CPU (two cores and an hour suffice) or a GPU. Matrices are trained with Muon
(https://kellerjordan.github.io/posts/muon/), everything else with AdamW; the learning rate and the
moment from which weights are rounded as stored follow the share of the time that is spent. That is time
in which the main thread computes, so that a process may be paused. Training begins with single exchanges,
from which copying is learned quickly, and goes on with more of conversations and lookups.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from conversations import Example, Writer
from export import export, restore, rows_of
from model import TinyConfig, TinyModel
from muon import Muon
from rows import relate_spellings, seen_tokens, spell_new_rows
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from harmony import load_encoding

ROUND_AFTER = 0.7
WARMUP = 0.02
LENGTHS = {"lessons": 256, "conversations": 512, "searches": 1024, "lookups": 2048}
FIRST = {"lessons": 0.65, "conversations": 0.1, "searches": 0.2, "lookups": 0.05}
THEN = {"lessons": 0.15, "conversations": 0.3, "searches": 0.15, "lookups": 0.4}
"""The shares of steps that each kind of example has during the lesson, and afterwards."""


class Examples(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Endless compact tokens int64, sampled bool and branches int64, [length] each."""

    def __init__(self, compact: Tensor, kind: str, seed: int) -> None:
        self.compact, self.kind, self.length, self.seed = compact, kind, LENGTHS[kind], seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        writer = Writer(load_encoding(), self.seed)
        write = {
            "lessons": writer.write_lessons,
            "conversations": writer.write,
            "searches": writer.write_searches,
            "lookups": writer.write_lookups,
        }[self.kind]
        while True:
            yield self._padded(write(self.length))

    def _padded(self, example: Example) -> tuple[Tensor, Tensor, Tensor]:
        columns = (
            self.compact[torch.tensor(example.tokens)],
            torch.tensor(example.sampled),
            torch.tensor(example.branches),
        )
        tokens, sampled, branches = (F.pad(c, (0, self.length - len(c))) for c in columns)
        return tokens, sampled, branches


def batches_of(compact: Tensor, tokens: int, seed: int) -> dict[str, Iterator[list[Tensor]]]:
    """Batches of each kind of example, `tokens` tokens each."""
    return {
        kind: iter(DataLoader(Examples(compact, kind, seed + length), tokens // length, num_workers=1))
        for kind, length in LENGTHS.items()
    }


def kind_of_step(random: Random, spent: float, lesson: float) -> str:
    """Which kind of example comes next."""
    shares = FIRST if spent < lesson else THEN
    return random.choices(list(shares), list(shares.values()))[0]


def loss_of(
    model: TinyModel, tokens: Tensor, sampled: Tensor, branches: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of the sampled tokens, and the share of them that is the most likely one."""
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=multiplies_bfloat16(tokens.device)):
        hidden = model(tokens, branches)
    wanted = sampled[:, 1:] & (tokens[:, 1:] != 0)
    logits = model.logits(hidden[:, :-1][wanted])
    targets = tokens[:, 1:][wanted]
    return F.cross_entropy(logits, targets), (logits.argmax(-1) == targets).float().mean()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is the faster one there: a CPU without instructions for it takes twice as long."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()


@torch.no_grad()
def searched_right(model: TinyModel, compact: Tensor, held_out: Example) -> float:
    """The share of held-out questions whose whole search is the most likely one, token by token."""
    tokens, sampled, branches = (
        torch.tensor(column, device=compact.device)
        for column in (held_out.tokens, held_out.sampled, held_out.branches)
    )
    known = compact[tokens]
    likely = model.logits(model(known[None], branches[None])[0, :-1]).argmax(-1)
    wrong = sampled[1:] & (likely != known[1:])
    return 1 - len(branches[1:][wrong].unique()) / len(branches.unique()[1:])


def learning_rate(spent: float, cooldown: float) -> float:
    """Linear warm-up, constant, linear cool-down over the last part; all numbers are from 0 to 1."""
    return min(1.0, spent / WARMUP, (1 - spent) / cooldown)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, seen = begin(args, device)
    compact = torch.zeros(model.config.vocab_size, dtype=torch.int64)
    compact[torch.tensor(seen)] = torch.arange(1, len(seen) + 1)
    matrices = [p for name, p in model.named_parameters() if _is_matrix(name)]
    others = [p for name, p in model.named_parameters() if not _is_matrix(name)]
    muon = Muon(matrices, lr=args.lr)
    adam = torch.optim.AdamW(others, lr=args.lr / 10, betas=(0.9, 0.95), weight_decay=0.0)
    batches = batches_of(compact, args.batch, args.seed + bool(args.resume))
    held_out = Writer(load_encoding(), args.seed).write_held_out()
    random = Random(args.seed + bool(args.resume))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(seen)} tokens with a row",
        flush=True,
    )
    start = time.thread_time()
    latest: dict[str, tuple[float, float]] = {}
    for step in itertools.count():
        spent = (time.thread_time() - start) / (60 * args.minutes)
        if spent >= 1:
            break
        kind = kind_of_step(random, spent, args.lesson)
        batch = [column.to(device) for column in next(batches[kind])]
        if spent >= ROUND_AFTER and not model.rounded:
            model.round_weights()
        for optimizer, base in ((muon, args.lr), (adam, args.lr / 10)):
            for group in optimizer.param_groups:
                group["lr"] = base * learning_rate(spent, args.cooldown)
        loss, right = loss_of(model, *batch)
        (loss + 0.01 * model.balance()).backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        latest[kind] = loss.item(), right.item()
        if step % 50 == 0:
            scores = "  ".join(f"{kind} {loss:.3f} {right:.4f}" for kind, (loss, right) in latest.items())
            searches = searched_right(model, compact.to(device), held_out)
            print(f"step {step:5d}  {spent:6.1%}  held-out searches {searches:.3f}  {scores}", flush=True)
        if step % 200 == 199:
            torch.save({"weights": model.state_dict(), "seen": seen}, args.state)
    torch.save({"weights": model.state_dict(), "seen": seen}, args.state)
    model.round_weights()
    export(model, seen, args.out)
    print(f"wrote {args.out}", flush=True)


def begin(args: argparse.Namespace, device: torch.device) -> tuple[TinyModel, list[int]]:
    """A model to train and its tokens with a row: a resumed one, one from a checkpoint, or a new one."""
    resumed = torch.load(args.resume, weights_only=True) if args.resume else None
    seen: list[int] = resumed["seen"] if resumed else seen_tokens(args.seed)
    if args.begin and not resumed:
        seen = sorted({*seen, *rows_of(args.begin)})
    model = TinyModel(TinyConfig(seen=len(seen) + 1))
    if resumed:
        model.load_state_dict(resumed["weights"])
    elif args.begin:
        spell_new_rows(model.embedding, seen, new=restore(model, seen, args.begin))
    else:
        relate_spellings(model.embedding, seen)
    return model.to(device), seen


def _is_matrix(name: str) -> bool:
    return name.endswith(("qkv.weight", "out.weight", "up", "down"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long to compute (60)")
    parser.add_argument("--batch", type=int, default=4096, help="tokens in a step (4096)")
    parser.add_argument("--threads", type=int, help="of torch (one for each core)")
    parser.add_argument(
        "--lr", type=float, default=0.02, help="Muon's learning rate; AdamW's is a tenth (0.02)"
    )
    parser.add_argument(
        "--lesson", type=float, default=0.25, help="share of the time mostly on single exchanges (0.25)"
    )
    parser.add_argument(
        "--cooldown", type=float, default=0.9, help="share of the time on lowering the rate (0.9)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights and data; the tokens with a row depend on it"
    )
    parser.add_argument(
        "--state", type=Path, default=Path("tiny.pt"), help="where raw weights and tokens are kept"
    )
    parser.add_argument(
        "--from", dest="begin", type=Path, metavar="FOLDER", help="a checkpoint to begin with"
    )
    parser.add_argument("--resume", type=Path, help="such a file to go on from")
    parser.add_argument("--out", type=Path, default=Path("runtime/tiny"), help="the checkpoint's folder")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
