"""Muon: momentum, orthogonalised by a Newton-Schulz iteration (Jordan et al., 2024).

torch.optim.Muon takes single matrices only; this one also takes stacks of them, as experts are.
"""

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Parameters are [..., rows, columns]; each matrix of a stack is orthogonalised by itself.

    Updates all have one size, so that without decay the weights would grow with every step and in the end
    the loss too; with it no singular value exceeds about 1 / decay.
    """

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.2) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                velocity = state.setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalized(p.grad.lerp(velocity, group["momentum"]))
                scale = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(update, alpha=-group["lr"] * scale)


def orthogonalized(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values end up around 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = (g.mT if tall else g).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(g.dtype)
