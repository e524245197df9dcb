"""The bit mask of a grammar, applied to logits in one pass."""

from harmony.kernels.cpu.compiled.llvm import load_i32, store_allowed
from harmony.kernels.cpu.masking import WORD

ALL = -1  # a word that allows all of its tokens


def mask(arguments, first, last):
    """Item i: the tokens of word i."""
    logits, mask, masked = arguments[0], arguments[1], arguments[2]
    for word in range(first, last):
        at, allowed = 4 * WORD * word, load_i32(mask + 4 * word)
        if allowed != ALL or masked != logits:
            store_allowed(logits + at, allowed, masked + at)
