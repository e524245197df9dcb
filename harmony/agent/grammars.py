"""Grammars over the harmony vocabulary, for the engines that can enforce them."""

from functools import cache

from harmony import load_encoding
from harmony.runtime.grammars import Grammars
from harmony.runtime.token_table import TokenTable
from harmony.vocabulary import CALL, END_OF_TEXT, SPECIAL_TOKENS, ordinary_tokens


@cache
def harmony_grammars(vocab_size: int) -> Grammars:
    """The grammars for logits of this many ids, made once; raises GrammarError without llguidance."""
    table = TokenTable(
        ordinary_tokens(),
        SPECIAL_TOKENS,
        split=load_encoding().split_pattern,
        size=vocab_size,
        end_of_text=END_OF_TEXT,
        avoided=frozenset({CALL}),
    )
    return Grammars(table)
