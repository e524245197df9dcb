"""The masks of any text are those of llguidance."""

import numpy as np
import pytest

from harmony.agent.grammars import harmony_grammars
from harmony.runtime.free_text import ANY_TEXT, FreeText
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
    assert {*unpacked(FreeText(table).mask(written, END))} == expected
