"""Grammars over the harmony vocabulary, for the engines that can enforce them."""

from functools import cache, partial

from harmony import TurnGrammar, load_encoding
from harmony.runtime.constraint import Constraint, Interruption
from harmony.runtime.grammars import Grammars
from harmony.runtime.token_table import TokenTable
from harmony.vocabulary import CALL, END_OF_TEXT, SPECIAL_TOKENS, ranks
from harmony.watch import TurnWatch


@cache
def harmony_grammars(vocab_size: int) -> Grammars:
    """The grammars for logits of this many ids, made once; raises GrammarError without llguidance."""
    table = TokenTable(
        ranks(),
        SPECIAL_TOKENS,
        encode=partial(load_encoding().encode, disallowed_special=()),
        size=vocab_size,
        end_of_text=END_OF_TEXT,
        avoided=frozenset({CALL}),
    )
    return Grammars(table)


def turn_constraint(
    grammar: TurnGrammar, vocab_size: int, *, reasoning_tokens: int | None = None
) -> Constraint:
    """What keeps one turn to its grammar, and to what its schemas ask beyond it.

    After `reasoning_tokens` the end of the reasoning is forced. Raises GrammarError without llguidance.
    """
    interruption = None
    if reasoning_tokens is not None:
        ending = load_encoding().encode(grammar.reasoning_end, allowed_special="all")
        interruption = Interruption(reasoning_tokens, tuple(ending))
    stated = grammar.stated and {**grammar.stated, "reasoning_tokens": reasoning_tokens}
    return Constraint(
        harmony_grammars(vocab_size),
        grammar.text,
        parts=grammar.parts,
        interruption=interruption,
        watch=TurnWatch(grammar.watched) if grammar.watched else None,
        stated=stated,
    )
