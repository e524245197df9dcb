"""Train the bundled tiny model and write it as a checkpoint in the Hugging Face layout.

    python examples/tiny/train.py --minutes 60 --out runtime/tiny

Runs on a CPU (two cores and an hour suffice) or a GPU. Matrices are trained with Muon
(https://kellerjordan.github.io/posts/muon/), everything else with AdamW; the learning rate and the
moment from which weights are rounded as stored follow the share of the time that is spent. Training
begins with single exchanges, from which copying is learned quickly, and goes on with conversations.
"""

import argparse
import collections
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from conversations import Example, Writer
from export import export
from model import TinyConfig, TinyModel
from muon import Muon
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from harmony import load_encoding

LONG, SHORT = 512, 96
ROUND_AFTER = 0.7
WARMUP = 0.02


class Conversations(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Endless compact tokens int64, sampled bool and branches int64, [length] each."""

    def __init__(self, compact: Tensor, length: int, seed: int) -> None:
        self.compact, self.length, self.seed = compact, length, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        writer = Writer(load_encoding(), self.seed)
        write = writer.write if self.length == LONG else writer.write_exchange
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


def batches_of(
    compact: Tensor, tokens: int, seed: int
) -> tuple[Iterator[list[Tensor]], Iterator[list[Tensor]]]:
    """Batches of whole conversations and of single exchanges, `tokens` tokens each."""
    long, short = (
        iter(DataLoader(Conversations(compact, length, seed + length), tokens // length, num_workers=1))
        for length in (LONG, SHORT)
    )
    return long, short


def seen_tokens(seed: int, conversations: int = 4000, at_least: int = 8) -> list[int]:
    """The tokens that get a row: those that occur often enough, and all groups of digits."""
    encoding = load_encoding()
    writer = Writer(encoding, seed)
    counts = collections.Counter(t for _ in range(conversations) for t in writer.write(LONG).tokens)
    digits = (f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width))
    numbers = {encoding.encode(text)[0] for text in digits}
    return sorted(numbers | {token for token, count in counts.items() if count >= at_least})


@torch.no_grad()
def relate_spellings(embedding: Tensor, seen: list[int], shared: float = 0.7) -> None:
    """Give the rows of ` Paris`, `Paris` and ` paris` most of their direction in common.

    What copies a word from a sentence into JSON then need not learn each pair of spellings by itself.
    """
    encoding = load_encoding()
    first: dict[str, int] = {}
    for row, token in enumerate(seen, start=1):
        related = first.setdefault(encoding.decode([token]).strip().lower(), row)
        if related != row:
            embedding[row] *= math.sqrt(1 - shared**2)
            embedding[row] += shared * embedding[related]


def loss_of(
    model: TinyModel, tokens: Tensor, sampled: Tensor, branches: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of the sampled tokens, and the share of them that is the most likely one."""
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
        hidden = model(tokens, branches)
    wanted = sampled[:, 1:] & (tokens[:, 1:] != 0)
    logits = model.logits(hidden[:, :-1][wanted])
    targets = tokens[:, 1:][wanted]
    return F.cross_entropy(logits, targets), (logits.argmax(-1) == targets).float().mean()


def learning_rate(spent: float, cooldown: float) -> float:
    """Linear warm-up, constant, linear cool-down over the last part; all numbers are from 0 to 1."""
    return min(1.0, spent / WARMUP, (1 - spent) / cooldown)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    resumed = torch.load(args.resume, weights_only=True) if args.resume else None
    seen: list[int] = resumed["seen"] if resumed else seen_tokens(args.seed)
    compact = torch.zeros(TinyConfig(seen=0).vocab_size, dtype=torch.int64)
    compact[torch.tensor(seen)] = torch.arange(1, len(seen) + 1)
    model = TinyModel(TinyConfig(seen=len(seen) + 1)).to(device)
    if resumed:
        model.load_state_dict(resumed["weights"])
    else:
        relate_spellings(model.embedding, seen)
    matrices = [p for name, p in model.named_parameters() if _is_matrix(name)]
    others = [p for name, p in model.named_parameters() if not _is_matrix(name)]
    muon = Muon(matrices, lr=args.lr)
    adam = torch.optim.AdamW(others, lr=args.lr / 10, betas=(0.9, 0.95), weight_decay=0.0)
    long, short = batches_of(compact, args.batch, args.seed + bool(args.resume))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(seen)} tokens with a row",
        flush=True,
    )
    start = time.monotonic()
    for step in itertools.count():
        spent = (time.monotonic() - start) / (60 * args.minutes)
        if spent >= 1:
            break
        batch = [column.to(device) for column in next(short if spent < args.lesson else long)]
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
        if step % 50 == 0:
            print(
                f"step {step:5d}  {spent:6.1%}  loss {loss.item():.4f}  right {right.item():.4f}", flush=True
            )
        if step % 500 == 499:
            torch.save({"weights": model.state_dict(), "seen": seen}, args.state)
    torch.save({"weights": model.state_dict(), "seen": seen}, args.state)
    model.round_weights()
    export(model, seen, args.out)
    print(f"wrote {args.out}", flush=True)


def _is_matrix(name: str) -> bool:
    return name.endswith(("qkv.weight", "out.weight", "up", "down"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long to train (60)")
    parser.add_argument("--batch", type=int, default=4096, help="tokens in a step (4096)")
    parser.add_argument("--threads", type=int, help="of torch (one for each core)")
    parser.add_argument(
        "--lr", type=float, default=0.02, help="Muon's learning rate; AdamW's is a tenth (0.02)"
    )
    parser.add_argument(
        "--lesson", type=float, default=0.25, help="share of the time on single exchanges (0.25)"
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
    parser.add_argument("--resume", type=Path, help="such a file to go on from")
    parser.add_argument("--out", type=Path, default=Path("runtime/tiny"), help="the checkpoint's folder")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
