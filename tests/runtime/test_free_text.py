"""The masks of any text are those of llguidance."""

import numpy as np
import pytest

from harmony.agent.grammars import harmony_grammars
from harmony.runtime.free_text import ANY_TEXT, FreeText, TextMatcher
from harmony.runtime.token_table import unpacked
from harmony.vocabulary import END, VOCABULARY_SIZE

GRAMMARS = harmony_grammars(VOCABULARY_SIZE)


@pytest.mark.parametrize("cut", ["", "c3", "e2", "e282", "e0", "ed", "f0", "f09f", "f09f98", "f4"])
def test_the_masks_are_those_of_the_compiled_grammar(cut: str) -> None:
    """Behind whole characters and within one; but the end is the special token that was asked for."""
    written, table = bytes.fromhex(cut), GRAMMARS.table
    octets = {table.tokens[token]: token for token in table.octets}
    matcher = GRAMMARS.compiled(ANY_TEXT).result().matcher.deep_copy()
    assert matcher.consume_tokens([octets[bytes([octet])] for octet in written])
    theirs = {*unpacked(np.frombuffer(matcher.compute_bitmask(), np.int32)[: table.words])}
    expected = theirs if written else theirs - {table.end_of_text} | {END}
    free = FreeText(table)
    assert {*unpacked(free.mask(written, END))} == expected
    assert {n for n in range(table.size) if free.cut_after(written, n) is not None} == expected - {END}


def test_a_text_is_checked_without_its_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take long to make, and are needed only where a token is sampled."""
    monkeypatch.delattr(FreeText, "mask")
    octets = {GRAMMARS.table.tokens[token]: token for token in GRAMMARS.table.octets}
    cut = octets[b"\xc3"]
    matcher = TextMatcher(FreeText(GRAMMARS.table), END)
    assert matcher.validate([cut, octets[b"\xa4"], END]) == 3
    assert matcher.validate([cut, octets[b"a"]]) == matcher.validate([cut, END]) == 1
    assert matcher.consume(cut)
    assert matcher.validate([END]) == 0
