"""Grammars over the tokens of one vocabulary: compiled in a thread, kept by their text.

The compiler is llguidance (https://github.com/guidance-ai/llguidance); the grammars are of its Lark dialect.
Loading it and building its view of the vocabulary takes some tenths of a second, once for each `Grammars`
that compiles anything.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from harmony.errors import GrammarError
from harmony.runtime.closing.automaton import Automaton
from harmony.runtime.closing.lark import symbol_of
from harmony.runtime.closing.symbols import Costs
from harmony.runtime.free_text import FreeText
from harmony.runtime.guards import Guards
from harmony.runtime.matcher import GrammarMatcher
from harmony.runtime.parts import PartedGrammar, Parts
from harmony.runtime.token_table import TokenTable

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

T = TypeVar("T")

_ROOM = 20
"""How many times the default limits a grammar may take that outgrows them."""

_CHARACTER = r'[^"\\\x00-\x1F\x7F]'
_SLICES = [
    r"[\x20\x0A\x0D\x09]+",
    *(f"{_CHARACTER}{{1,{most}}}" for most in (5, 10, 15, 20, 30)),
    f"{_CHARACTER}+",
    "(?s:.)+",
]
"""Sets of tokens that are allowed in one go where all of them are: blanks, strings of JSON, text.

Those of llguidance know 10 and 30 characters and no text. With more of them a mask within a string of at most
20 characters takes 0.03 ms and not 0.22, and the first one of a text 0.009 and not 0.035.
"""


@dataclass(frozen=True)
class Compiled:
    """A grammar that has not been advanced; `matcher` is to be copied for each use."""

    text: str
    table: TokenTable
    tokenizer: "LLTokenizer"
    matcher: "LLMatcher"

    def automaton(self) -> Automaton:
        """What follows texts of the grammar and knows the shortest ends of each."""
        return self._automaton

    @cached_property
    def _automaton(self) -> Automaton:
        return _automaton(self.text, self.table)

    def start(self) -> GrammarMatcher:
        """A matcher at the start."""
        return GrammarMatcher(self, self.matcher.deep_copy())


class Once(Generic[T]):
    """What is made once, by the first thread that needs it; the others wait for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: T | GrammarError | None = None

    def done(self) -> bool:
        """Whether nothing has to wait for it, be it that it could not be made."""
        return self._made is not None

    def result(self) -> T:
        """What was made; raises the GrammarError that it cannot be."""
        with self._lock:
            if self._made is None:
                try:
                    self._made = self._make()
                except GrammarError as error:
                    self._made = error
        if isinstance(self._made, GrammarError):
            raise self._made
        return self._made


class Grammars:
    """Compiles grammars in a thread of its own and keeps the `kept` that were asked for last.

    What is needed before that thread comes to it is compiled by who needs it. Raises GrammarError when
    llguidance is not installed.
    """

    def __init__(self, table: TokenTable, *, kept: int = 512) -> None:
        if not enforceable():
            raise GrammarError("enforcing a grammar needs llguidance: pip install 'gpt-oss-harmony[local]'")
        self.table = table
        self.guards = Guards(table)
        self._kept = kept
        self._compiled: OrderedDict[str, Once[Compiled]] = OrderedDict()
        self._parted: OrderedDict[str, PartedGrammar] = OrderedDict()
        self._automata: OrderedDict[str, Automaton] = OrderedDict()
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="harmony-grammars")
        self._tokenizers = Once(lambda: _Tokenizers(table))

    def compiled(self, text: str) -> Once[Compiled]:
        """The grammar of this text, at once if it is kept; its result raises GrammarError."""
        with self._lock:
            if text not in self._compiled:
                self._compiled[text] = Once(lambda: self._compile(text))
                self._worker.submit(self._compiled[text].result)
            return _latest(self._compiled, text, self._kept)

    def parted(self, text: str, parts: Parts) -> PartedGrammar:
        """The grammar of this text by its parts, each of which is kept by its own text too."""
        parted = self._parted.get(text) or PartedGrammar(self, parts)
        with self._lock:
            self._parted.setdefault(text, parted)
            return _latest(self._parted, text, self._kept)

    @cached_property
    def free_text(self) -> FreeText:
        """Any text, for the bodies that have no grammar."""
        return FreeText(self.table)

    def automaton(self, text: str) -> Automaton:
        """What knows the shortest ends of the grammar of this text, which need not be compiled for that."""
        automaton = self._automata.get(text) or _automaton(text, self.table)
        with self._lock:
            self._automata.setdefault(text, automaton)
            return _latest(self._automata, text, self._kept)

    def forget(self, compiled: Compiled) -> None:
        """Compile this grammar anew when it is asked for again.

        The lexer of llguidance, which all copies of a matcher share, has room for so many expressions, and a
        large grammar that is used thousands of times can fill it up.
        """
        with self._lock:
            kept = self._compiled.get(compiled.text)
            if kept is not None and kept.done() and kept.result() is compiled:
                del self._compiled[compiled.text]

    def _compile(self, text: str) -> Compiled:
        tokenizer = self._tokenizers.result().fitting(text)
        matcher = _matcher(tokenizer, text)
        # Some grammars outgrow the default limits, a few of them only when their first mask is computed.
        if matcher.is_error():
            matcher = _matcher(tokenizer, text, _ROOM)
        if matcher.is_error():
            raise GrammarError(f"this grammar cannot be enforced: {_reason(matcher.get_error())}")
        return Compiled(text, self.table, tokenizer, matcher)


def _automaton(text: str, table: TokenTable) -> Automaton:
    return Automaton(Costs(symbol_of(text, table.special), table.avoided))


def _latest(kept: OrderedDict[str, T], text: str, most: int) -> T:
    """What is kept for this text, which is now the latest of `most`."""
    kept.move_to_end(text)
    if len(kept) > most:
        kept.popitem(last=False)
    return kept[text]


def enforceable() -> bool:
    """Whether grammars can be enforced here, that is, whether llguidance is installed."""
    return find_spec("llguidance") is not None


class _Tokenizers:
    """The vocabulary as llguidance sees it, with those slices that a grammar has use for.

    Each slice takes about as long as a fifth of the rest. `python tests/bench/first_token.py` measures what
    comes of it.
    """

    def __init__(self, table: TokenTable) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper

        self._text = LLTokenizer(TokenizerWrapper(_Vocabulary(table)), slices=_SLICES[-1:])
        self._sliced = Once(lambda: self._text.with_slices(_SLICES))

    def fitting(self, text: str) -> "LLTokenizer":
        """That for a grammar: where all expressions in it are those of any text, one slice is enough."""
        is_text = not re.search(r"^\{|%json|/", text.replace("/(?s:.*)/", ""))
        return self._text if is_text else self._sliced.result()


class _Vocabulary:
    """What llguidance asks of a tokenizer, from which it makes its own view."""

    bos_token_id = None

    def __init__(self, table: TokenTable) -> None:
        names = {token: name.encode() for name, token in table.special.items() if token < table.size}
        self.eos_token_id = table.end_of_text
        self.special_token_ids = [*names]
        self.tokens = [
            *table.tokens,
            *(names.get(token, b"") for token in range(len(table.tokens), table.size)),
        ]
        self._encode = table.encode

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            raise TypeError("this tokenizer takes text")  # which tells llguidance to decode it
        return self._encode(text)


def _matcher(tokenizer: "LLTokenizer", text: str, room: int = 1) -> "LLMatcher":
    """A matcher with its first mask computed, within `room` times the default limits; it may be in error.

    Some masks of large grammars take more than the default limit of a single one, in the middle of a turn,
    where it is better that one takes long than that the turn fails.
    """
    from llguidance import LLMatcher, LLParserLimits

    usual = LLParserLimits()
    limits = LLParserLimits(
        initial_lexer_fuel=room * usual.initial_lexer_fuel,
        step_lexer_fuel=_ROOM * usual.step_lexer_fuel,
        max_lexer_states=room * usual.max_lexer_states,
        verbose_errors=False,
    )
    matcher = LLMatcher(tokenizer, text, log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher


def _reason(error: str) -> str:
    """The compiler's words on one line, without its picture of the grammar and its stack."""
    said = [line.strip() for line in re.split(r"\n   1 \||<backtrace>", error)[0].splitlines()]
    return " ".join(line for line in said if line) or "no reason is given"
