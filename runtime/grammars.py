"""Grammars over the tokens of one vocabulary: compiled in a thread, kept by their text.

The compiler is llguidance (https://github.com/guidance-ai/llguidance); the grammars are of its Lark dialect.
Loading it and building its view of the vocabulary takes about a second, once for each `Grammars`.
"""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

from harmony.errors import GrammarError
from harmony.runtime.closing.lark import symbol_of
from harmony.runtime.closing.symbols import Costs
from harmony.runtime.guards import Guards
from harmony.runtime.token_table import TokenTable

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

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

    @cached_property
    def costs(self) -> Costs:
        """What each part of the grammar costs at least, worked out when it is first asked for."""
        return Costs(symbol_of(self.text, self.table.special), self.table.avoided)


class Grammars:
    """Compiles grammars in a thread of its own and keeps the `kept` that were asked for last.

    Raises GrammarError when llguidance is not installed.
    """

    def __init__(self, table: TokenTable, *, avoided: frozenset[int] = frozenset(), kept: int = 64) -> None:
        if not enforceable():
            raise GrammarError("enforcing a grammar needs llguidance: pip install 'gpt-oss-harmony[local]'")
        self.table = table
        self.guards = Guards(table)
        self._kept = kept
        self._compiled: OrderedDict[str, Future[Compiled]] = OrderedDict()
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="harmony-grammars")
        self._tokenizer = self._worker.submit(_tokenizer, table)

    def compiled(self, text: str) -> Future[Compiled]:
        """The grammar of this text, at once if it is kept; its result raises GrammarError."""
        with self._lock:
            if text not in self._compiled:
                self._compiled[text] = self._worker.submit(self._compile, text)
            self._compiled.move_to_end(text)
            if len(self._compiled) > self._kept:
                self._compiled.popitem(last=False)
            return self._compiled[text]

    def forget(self, compiled: Future[Compiled]) -> None:
        """Compile this grammar anew when it is asked for again.

        The lexer of llguidance, which all copies of a matcher share, has room for so many expressions, and a
        large grammar that is used thousands of times can fill it up.
        """
        with self._lock:
            for text in [text for text, kept in self._compiled.items() if kept is compiled]:
                del self._compiled[text]

    def _compile(self, text: str) -> Compiled:
        tokenizer = self._tokenizer.result()
        matcher = _matcher(tokenizer, text)
        # Some grammars outgrow the default limits, a few of them only when their first mask is computed.
        if matcher.is_error():
            matcher = _matcher(tokenizer, text, room=20)
        if matcher.is_error():
            raise GrammarError(f"this grammar cannot be enforced: {_reason(matcher.get_error())}")
        return Compiled(text, self.table, tokenizer, matcher)


def enforceable() -> bool:
    """Whether grammars can be enforced here, that is, whether llguidance is installed."""
    return find_spec("llguidance") is not None


def _tokenizer(table: TokenTable) -> "LLTokenizer":
    from llguidance import LLTokenizer

    return LLTokenizer.from_tiktoken(  # type: ignore[attr-defined, no-any-return]  # missing in its stubs
        encoder={token: rank for rank, token in enumerate(table.tokens)},
        special_tokens={name: token for name, token in table.special.items() if token < table.size},
        pattern=table.split,
        eos_token=table.end_of_text,
        n_vocab=table.size,
        slices=_SLICES,
    )


def _matcher(tokenizer: "LLTokenizer", text: str, room: int = 1) -> "LLMatcher":
    """A matcher with its first mask computed, within `room` times the default limits; it may be in error."""
    from llguidance import LLMatcher, LLParserLimits

    usual = LLParserLimits()
    limits = LLParserLimits(
        initial_lexer_fuel=room * usual.initial_lexer_fuel,
        step_lexer_fuel=room * usual.step_lexer_fuel,
        max_lexer_states=room * usual.max_lexer_states,
        verbose_errors=False,
    )
    matcher = LLMatcher(tokenizer, text, log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher


def _reason(error: str) -> str:
    """The compiler's words on one line, without its picture of the grammar."""
    said = [line.strip() for line in error.partition("\n   1 |")[0].splitlines()]
    return " ".join(line for line in said if line) or "no reason is given"
