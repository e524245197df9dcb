"""The product with the draw in its epilogue against float64 logits and the kernel that draws from logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harmony.kernels.triton.dense_matvec import dense
from harmony.kernels.triton.sampling import sample
from harmony.kernels.triton.unembedding import ROWS, unembed_sample

VOCABULARY, COLUMNS = 2 * ROWS + 9, 70
SHAPES = pytest.mark.parametrize("batch", [1, 3, 9])


def model(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(batch, COLUMNS), torch.rand(COLUMNS), torch.randn(VOCABULARY, COLUMNS).bfloat16()


@SHAPES
def test_temperature_zero_is_the_argmax(batch: int) -> None:
    """Of the logits in float64, with a tile of the vocabulary and one of the batch that are not full."""
    x, norm, weight = model(batch)
    logits = F.rms_norm(x.double(), (COLUMNS,), norm.double(), 1e-5) @ weight.double().T
    ours = unembed_sample(x, norm, weight, torch.zeros(batch), torch.arange(batch))
    assert ours.tolist() == logits.argmax(-1).tolist()


@SHAPES
def test_draws_as_from_logits(batch: int) -> None:
    """The same seeds, temperatures and mask draw the tokens that `sample` draws."""
    x, norm, weight = model(batch)
    mask = torch.randint(-(2**31), 2**31, (batch, -(-VOCABULARY // 32)), dtype=torch.int32)
    temperatures, seeds = torch.full((batch,), 5.0), torch.arange(batch) + 7
    logits = dense(x, weight, norm=norm)
    ours = unembed_sample(x, norm, weight, temperatures, seeds, mask)
    assert torch.equal(ours, sample(logits, temperatures, seeds, mask))
    assert not torch.equal(ours, unembed_sample(x, norm, weight, temperatures, seeds + 100, mask))


def test_forbidden_weights_are_not_read() -> None:
    """Rows of NaN in a tile that the mask forbids to every sequence change nothing."""
    x, norm, weight = model(2)
    mask = torch.zeros(2, -(-VOCABULARY // 32), dtype=torch.int32)
    mask[0, ROWS // 32] = 1 << 5
    mask[1, 2 * ROWS // 32] = 1 << 8
    weight[:ROWS] = float("nan")
    ours = unembed_sample(x, norm, weight, torch.ones(2), torch.arange(2), mask)
    assert ours.tolist() == [ROWS + 5, 2 * ROWS + 8]
