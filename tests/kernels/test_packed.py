"""MXFP4 in the order of the GPU kernels."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony.kernels.packed import GROUP, HOMES, pack, unpack


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**31))
def test_unpack_inverts_pack(experts: int, rows: int, blocks: int, seed: int) -> None:
    """Every byte comes back, with an odd number of blocks too."""
    random = torch.Generator().manual_seed(seed)
    packed = torch.randint(0, 256, (experts, rows, blocks, 16), dtype=torch.uint8, generator=random)
    scales = torch.randint(0, 256, (experts, rows, blocks), dtype=torch.uint8, generator=random)
    matrix = pack(packed, scales)
    assert matrix.words.shape == (experts, -(-blocks * 32 // GROUP), rows, 8)
    again = unpack(matrix)
    assert torch.equal(again[0], packed)
    assert torch.equal(again[1], scales)


def test_a_nibble_in_place_is_a_float16() -> None:
    """Sign at bit 15 and code at bits 11 to 9 spell the value times 2^-14, for all 16 codes."""
    codes = torch.arange(16)
    halves = ((codes >> 3) << 15 | (codes & 7) << 9).to(torch.uint16).view(torch.float16)
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert torch.equal(halves.double() * 2**14, torch.cat((magnitudes, -magnitudes)).double())


def test_homes_fill_a_half_word() -> None:
    """The four fields of sign and code share no bit and leave none."""
    bits = [bit for sign, code in HOMES for bit in (sign, code, code + 1, code + 2)]
    assert sorted(bits) == list(range(16))
