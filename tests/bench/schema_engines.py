"""What is compared in `schemas.py`: ways to make an engine write JSON under a schema.

An engine compiles a schema to something that says of a value whether the engine would let it be written, or
raises `Refused`. Texts are tried in several orders of properties, the same for every engine.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import llguidance

import harmony
from harmony.errors import SchemaError
from harmony.schemas import Residual, enforce

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from writing import Exhausted, MaskWriter, Writer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

VOCABULARY = 201_088
UNUSED = 199_999  # a special token that no grammar names, as the end of the text
ROW = VOCABULARY // 8
ORDERS = 500


class Refused(Exception):
    """The engine does not take the schema."""


@dataclass
class Verdicts:
    """What an engine made of one schema and its tests."""

    compile_ms: float = 0.0
    refused: str | None = None
    accepted: list[bool] = field(default_factory=list)
    by_mask: list[bool] = field(default_factory=list)
    """What the mask alone said, where a veto looks at the value too."""
    residuals: tuple[Residual, ...] = ()
    masks_us: list[float] = field(default_factory=list)


class Engine(Protocol):
    """Something that enforces schemas."""

    name: str

    def verdicts(self, schema: Any, values: list[Any]) -> Verdicts:
        """Compile a schema and say of each value whether it may be written."""
        ...


class Ours:
    """The masks and vetoes of this package."""

    name = "harmony"

    def __init__(self, tokenizer: llguidance.LLTokenizer, *, timed: bool) -> None:
        self._tokenizer = tokenizer
        self._timed = timed

    def verdicts(self, schema: Any, values: list[Any]) -> Verdicts:
        """See `Engine.verdicts`."""
        began = time.process_time()
        try:
            enforced = enforce(schema)
        except SchemaError as error:
            return Verdicts(refused=str(error))
        writer = MaskWriter(enforced.mask, self._tokenizer)
        done = Verdicts((time.process_time() - began) * 1e3, residuals=enforced.residuals)
        for value in values:
            text = _text(writer, value)
            done.by_mask.append(text is not None)
            veto = enforced.veto()
            fits = text is not None and not veto.advance(text) and not veto.finish()
            done.accepted.append(fits)
            if self._timed and text is not None:
                done.masks_us += mask_times(enforced.mask, text, self._tokenizer)
        return done


class Llguidance:
    """llguidance alone, which refuses what it lacks or, if lenient, ignores it."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, *, lenient: bool, timed: bool) -> None:
        self.name = f"llguidance {'lenient' if lenient else 'as shipped'}"
        self._lenient = lenient
        self._tokenizer = tokenizer
        self._timed = timed

    def verdicts(self, schema: Any, values: list[Any]) -> Verdicts:
        """See `Engine.verdicts`."""
        if isinstance(schema, bool):
            return Verdicts(refused="no object")
        options = {"x-guidance": {"lenient": True}} if self._lenient else {}
        began = time.process_time()
        try:
            mask = json.dumps(schema | options)
            writer = MaskWriter(mask, self._tokenizer)
        except ValueError as error:
            return Verdicts(refused=str(error).splitlines()[0])
        done = Verdicts((time.process_time() - began) * 1e3)
        for value in values:
            text = _text(writer, value)
            done.accepted.append(text is not None)
            if self._timed and text is not None:
                done.masks_us += mask_times(mask, text, self._tokenizer)
        done.by_mask = done.accepted
        return done


def mask_times(mask: str, text: str, tokenizer: llguidance.LLTokenizer) -> list[float]:
    """The CPU time of each mask along a text, in microseconds."""
    grammar = llguidance.LLMatcher.grammar_from_json_schema(mask)
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    row = ctypes.create_string_buffer(ROW)
    times = []
    for token in tokenizer.tokenize_str(text):
        began = time.thread_time_ns()
        matcher.unsafe_compute_mask_ptr(ctypes.addressof(row), ROW)
        times.append((time.thread_time_ns() - began) / 1e3)
        matcher.consume_token(token)
    return times


def _text(writer: Writer, value: Any) -> str | None:
    try:
        return writer.text(value, attempts=ORDERS)
    except Exhausted:
        return None


def our_tokenizer() -> llguidance.LLTokenizer:
    """The gpt-oss vocabulary, as far as the model has logits, as llguidance takes it."""
    bpe = harmony.load_encoding()._bpe
    return llguidance.LLTokenizer.from_tiktoken(
        encoder=bpe._mergeable_ranks,
        special_tokens={name: token for name, token in bpe._special_tokens.items() if token < VOCABULARY},
        pattern=bpe._pat_str,
        eos_token=UNUSED,
        n_vocab=VOCABULARY,
        slices=None,
    )


class Xgrammar:
    """xgrammar in a process of its own, which is ended when a schema takes too long.

    It never refuses: what it lacks it ignores. With `strict_mode`, its default, objects have no properties
    and arrays no items but those that the schema names.
    """

    def __init__(self, *, strict_mode: bool, limit: float, timed: bool) -> None:
        self.name = f"xgrammar {'as shipped' if strict_mode else 'strict_mode=False'}"
        self._arguments = (strict_mode, timed)
        self._limit = limit
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve_xgrammar, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        self._pipe.recv()

    def verdicts(self, schema: Any, values: list[Any]) -> Verdicts:
        """See `Engine.verdicts`; a schema over the limit counts as refused."""
        self._pipe.send((schema, values))
        if self._pipe.poll(self._limit):
            done: Verdicts = self._pipe.recv()
            return done
        self._process.kill()
        self._process.join()
        self._start()
        return Verdicts(refused=f"over {self._limit:.0f} s")


def serve_xgrammar(pipe: Connection, strict_mode: bool, timed: bool) -> None:
    """Answer for xgrammar until the pipe closes."""
    import xgrammar
    from numpy import zeros

    encoding = harmony.load_encoding()
    ordinary = list(encoding.token_bytes[:199_998])
    vocabulary = ordinary + [b""] * (VOCABULARY - len(ordinary))
    info = xgrammar.TokenizerInfo(vocabulary, vocab_size=VOCABULARY, stop_token_ids=[UNUSED])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    row = zeros((1, VOCABULARY // 32), dtype="int32")
    pipe.send("ready")
    with suppress(EOFError):
        while True:
            schema, values = pipe.recv()
            began = time.process_time()
            try:
                compiled = compiler.compile_json_schema(json.dumps(schema), strict_mode=strict_mode)
            except Exception as error:  # whatever it raises is a refusal
                pipe.send(Verdicts(refused=str(error).splitlines()[0]))
                continue
            done = Verdicts((time.process_time() - began) * 1e3)
            writer = XgrammarWriter(xgrammar.GrammarMatcher(compiled), schema)
            for value in values:
                text = _text(writer, value)
                done.accepted.append(text is not None)
                if timed and text is not None:
                    matcher = xgrammar.GrammarMatcher(compiled)
                    for token in encoding.encode(text, disallowed_special=()):
                        began_ns = time.thread_time_ns()
                        matcher.fill_next_token_bitmask(row)
                        done.masks_us.append((time.thread_time_ns() - began_ns) / 1e3)
                        matcher.accept_token(token)
            done.by_mask = done.accepted
            pipe.send(done)


class XgrammarWriter(Writer):
    """Writes under a grammar of xgrammar."""

    def __init__(self, matcher: Any, schema: Any) -> None:
        super().__init__(schema)
        self._matcher = matcher

    def consume(self, text: str) -> int:
        """See `Writer.consume`; to xgrammar, any text is one step."""
        return int(self._matcher.accept_string(text))

    def back(self, steps: int) -> None:
        """See `Writer.back`."""
        self._matcher.rollback(steps)

    def is_complete(self) -> bool:
        """See `Writer.is_complete`."""
        return bool(self._matcher.is_completed())

    def reset(self) -> None:
        """See `Writer.reset`."""
        self._matcher.reset()
