"""A conversation as tokens: what was sampled stays as it was sampled, what is new is rendered.

A tool call that is rendered again is another token sequence than the one the model sampled, and no
longer matches what an engine has cached. So the tokens are the truth here, and messages are a view.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, ValidationError

from harmony.encoding import HarmonyEncoding
from harmony.errors import TranscriptError
from harmony.messages import Message, RenderOptions, Role, SchemaProfile, SystemContent
from harmony.rendering import declares_functions
from harmony.streaming import ParsedMessage, StreamableParser
from harmony.turns import DropRule, Turns, is_reasoning
from harmony.vocabulary import END, RETURN, START, STOP_TOKENS


@dataclass(frozen=True, slots=True)
class Segment:
    """One message and its tokens, from `<|start|>` to the token that ends it.

    `message` is None for sampled tokens from which no message could be parsed. `sampled` is where the
    tokens that the model sampled begin and end among them: not `<|start|>assistant` where the prompt
    gave it, nor the end that closes a message that was cut off. It is (0, 0) for a rendered message.

    Raises ValueError for no tokens, and for sampled ones that are not among them.
    """

    tokens: tuple[int, ...]
    message: Message | None
    sampled: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        start, stop = self.sampled
        if not 0 <= start <= stop <= len(self.tokens) > 0:
            raise ValueError("a segment has tokens, and the sampled ones are among them")

    @property
    def is_sampled(self) -> bool:
        """Whether the model wrote it."""
        return self.sampled[0] < self.sampled[1]

    @property
    def is_reasoning(self) -> bool:
        """Whether it is analysis: reasoning, a built-in tool's call, or its result."""
        return self.message is not None and is_reasoning(self.message)

    def in_history(self) -> "Segment":
        """What later turns show of it: `<|end|>` in place of `<|return|>`."""
        if self.tokens[-1] != RETURN:
            return self
        start, stop = self.sampled
        return replace(self, tokens=(*self.tokens[:-1], END), sampled=(start, max(start, stop - 1)))


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens of each kind a transcript has in context.

    `prompt` counts the `total` and `<|start|>assistant`; of the total, each was `sampled` or `rendered`.
    `reasoning` are the assistant's messages on the analysis channel, calls of built-in tools among them
    but not their results. `by_channel` has None for what is on no channel.
    """

    prompt: int
    total: int
    sampled: int
    rendered: int
    reasoning: int
    by_channel: Mapping[str | None, int]


class Transcript:
    """The messages of a conversation with their tokens.

    Within a turn it only grows, so that an engine goes on from its cache. When the user speaks again,
    the `<|return|>` of the turns before becomes `<|end|>`, as the format prescribes, and `drop_rule`
    says which reasoning is left out of the tokens from then on. `schema_profile` says how functions that
    a message declares are written.

    `segments` is what was said before, such as the first part of another transcript's `said`. A message
    that was appended belongs to the transcript; change a copy of it, not the message.

    >>> transcript = Transcript(encoding)
    >>> transcript.append(Message.from_role_and_content(Role.USER, "What is 2 + 2?"))
    >>> transcript.append_sampled([t.token async for t in engine.generate(transcript.prompt, ...)])
    """

    def __init__(
        self,
        encoding: HarmonyEncoding,
        segments: Iterable[Segment] = (),
        *,
        drop_rule: DropRule | str = DropRule.FINISHED_TURNS,
        schema_profile: SchemaProfile = "exact",
    ) -> None:
        self._encoding = encoding
        self._drop_rule = DropRule(drop_rule)
        self._schema_profile: SchemaProfile = schema_profile
        self._assistant = _assistant(encoding)
        self._said: list[Segment] = []
        self._tokens: list[int] = []
        self._ends: list[int] = []
        self._turns = Turns()
        self._has_functions = False
        for segment in segments:
            self._add(segment)

    def __repr__(self) -> str:
        return f"<Transcript of {len(self._said)} segments, {len(self._tokens)} tokens in context>"

    @property
    def drop_rule(self) -> DropRule:
        """Which reasoning is left out of the tokens."""
        return self._drop_rule

    @property
    def schema_profile(self) -> SchemaProfile:
        """How functions are written."""
        return self._schema_profile

    @property
    def said(self) -> tuple[Segment, ...]:
        """All that was ever said, as it was said; but a system message tells of functions declared since."""
        return tuple(self._said)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What is in context, in order; their tokens make up `tokens`."""
        return tuple(segment for segment in self._in_context() if segment is not None)

    @property
    def messages(self) -> list[Message]:
        """The messages in context; sampled tokens that are no message have none."""
        return [segment.message for segment in self.segments if segment.message is not None]

    @property
    def tokens(self) -> list[int]:
        """The tokens in context."""
        return self._tokens.copy()

    @property
    def prompt(self) -> list[int]:
        """What an engine continues: the tokens and `<|start|>assistant`."""
        return [*self._tokens, *self._assistant]

    @property
    def sampled_mask(self) -> list[bool]:
        """For each of the tokens, whether the model sampled it."""
        mask = [False] * len(self._tokens)
        position = 0
        for segment in self.segments:
            start, stop = segment.sampled
            mask[position + start : position + stop] = [True] * (stop - start)
            position += len(segment.tokens)
        return mask

    def counts(self) -> TokenCounts:
        """The tokens in context, counted; a segment's own are `len(segment.tokens)`."""
        by_channel: Counter[str | None] = Counter()
        sampled = reasoning = 0
        for segment in self.segments:
            message, length = segment.message, len(segment.tokens)
            sampled += segment.sampled[1] - segment.sampled[0]
            by_channel[message.channel if message else None] += length
            if message and is_reasoning(message) and message.author.role == Role.ASSISTANT:
                reasoning += length
        total = len(self._tokens)
        return TokenCounts(
            prompt=total + len(self._assistant),
            total=total,
            sampled=sampled,
            rendered=total - sampled,
            reasoning=reasoning,
            by_channel=by_channel,
        )

    def cached_prefix(self, held: Sequence[int]) -> int:
        """How many tokens of the prompt an engine that holds these need not compute again."""
        return _common_prefix(self.prompt, list(held))

    def copy(self) -> "Transcript":
        """Another transcript that goes on from here by itself."""
        other = Transcript.__new__(Transcript)
        own = {"_said": self._said.copy(), "_tokens": self._tokens.copy(), "_ends": self._ends.copy()}
        vars(other).update(vars(self) | own)
        return other

    def before(self, index: int) -> "Transcript":
        """Another transcript, of what was said before segment `index` of `said`."""
        return self._of(self._said[:index])

    def replaced(self, index: int, message: Message) -> "Transcript":
        """Another transcript, in which `message` was said instead of segment `index` of `said`.

        What came before and after it keeps its tokens. Raises RenderError for what the format cannot
        express, and IndexError for a segment that is not there.
        """
        has_functions = self._has_functions or declares_functions(message)
        segments = self._said.copy()
        segments[index] = self._render(message, has_functions)
        other = self._of(segments)
        if other._has_functions and not self._has_functions:
            other._render_system_with_functions()
        return other

    def append(self, *messages: Message) -> None:
        """Render messages and append them.

        The first functions that a developer message declares have the system messages rendered again,
        as these then tell where calls must go. Raises RenderError for what the format cannot express;
        nothing is appended then.
        """
        has_functions = self._has_functions or any(map(declares_functions, messages))
        segments = [self._render(message, has_functions) for message in messages]
        if has_functions and not self._has_functions:
            self._render_system_with_functions()
        for segment in segments:
            self._add(segment)

    def append_sampled(self, tokens: Sequence[int], parsed: Sequence[ParsedMessage] | None = None) -> None:
        """Append a completion of `prompt`, as it was sampled.

        `parsed` are the messages that a parser found in these tokens; without it they are parsed here.
        Tokens between messages stay with the message behind them, those after the last message are a
        segment without one. A completion that was cut off is closed with `<|end|>`.

        Raises TranscriptError if `parsed` is not of these tokens.
        """
        if parsed is None:
            parsed = self._parse(tokens)
        stops = [0, *(message.span.stop for message in parsed), len(tokens)]
        if stops != sorted(stops):
            raise TranscriptError("The parsed messages are not of these tokens; pass those of their parser.")
        messages = [*(message.message for message in parsed), None]
        lead, last = self._assistant, len(tokens)
        for message, (start, stop) in zip(messages, pairwise(stops), strict=True):
            if start == stop:
                continue
            is_cut_off = stop == last and tokens[-1] not in STOP_TOKENS
            end = (END,) if is_cut_off else ()
            sampled = (len(lead), len(lead) + stop - start)
            self._add(Segment((*lead, *tokens[start:stop], *end), message, sampled))
            lead = ()

    def to_json(self) -> str:
        """All that was said, tokens and messages, with the rule; `from_json` reads it back exactly."""
        saved = _Saved(drop_rule=self._drop_rule, schema_profile=self._schema_profile, segments=self._said)
        return saved.model_dump_json()

    @classmethod
    def from_json(cls, encoding: HarmonyEncoding, payload: str) -> Self:
        """Read what `to_json` wrote; raises TranscriptError for anything else."""
        try:
            saved = _Saved.model_validate_json(payload)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the text"
            raise TranscriptError(f"This is not a saved transcript: {place}: {first['msg']}.") from error
        return cls(encoding, saved.segments, drop_rule=saved.drop_rule, schema_profile=saved.schema_profile)

    def _of(self, segments: Iterable[Segment]) -> "Transcript":
        return Transcript(
            self._encoding, segments, drop_rule=self._drop_rule, schema_profile=self._schema_profile
        )

    def _render(self, message: Message, has_functions: bool) -> Segment:
        options = _options(has_functions, self._schema_profile)
        return Segment(tuple(self._encoding.render(message, options)), message)

    def _parse(self, tokens: Sequence[int]) -> Sequence[ParsedMessage]:
        parser = StreamableParser(self._encoding, Role.ASSISTANT, strict=False)
        return parser.process_all(tokens).process_eos().parsed_messages

    def _add(self, segment: Segment) -> None:
        before, after = self._turns, self._turns.after(*_speaker(segment))
        self._said.append(segment)
        self._turns = after
        self._has_functions |= segment.message is not None and declares_functions(segment.message)
        changed = len(self._said) - 1
        if before.start != after.start:
            changed = min(changed, before.start)
        boundaries = before.boundary(self._drop_rule), after.boundary(self._drop_rule)
        if boundaries[0] != boundaries[1]:
            changed = min(changed, *boundaries)
        if changed == len(self._said) - 1:  # what is said last is shown as it is
            self._tokens += segment.tokens
            self._ends.append(len(self._tokens))
        else:
            self._write_from(changed)

    def _render_system_with_functions(self) -> None:
        for index, segment in enumerate(self._said):
            message = segment.message
            if message and any(isinstance(content, SystemContent) for content in message.content):
                self._said[index] = self._render(message, has_functions=True)
        self._write_from(0)

    def _write_from(self, first: int) -> None:
        """Write the tokens again, from those of segment `first` on."""
        del self._ends[first:]
        del self._tokens[self._ends[-1] if self._ends else 0 :]
        for segment in self._in_context(first):
            if segment is not None:
                self._tokens += segment.tokens
            self._ends.append(len(self._tokens))

    def _in_context(self, first: int = 0) -> Iterator[Segment | None]:
        """What the prompt shows of each segment from `first` on; None for reasoning that is left out."""
        boundary, turn_start = self._turns.boundary(self._drop_rule), self._turns.start
        for index in range(first, len(self._said)):
            segment = self._said[index]
            if index < boundary and segment.is_reasoning:
                yield None
            else:
                yield segment.in_history() if index < turn_start else segment


class _Saved(BaseModel):
    version: Literal[1] = 1
    drop_rule: DropRule
    schema_profile: SchemaProfile = "exact"
    segments: list[Segment]


@cache
def _options(has_functions: bool, schema_profile: SchemaProfile) -> RenderOptions:
    return RenderOptions(conversation_has_function_tools=has_functions, schema_profile=schema_profile)


@cache
def _assistant(encoding: HarmonyEncoding) -> tuple[int, ...]:
    """The tokens after which the assistant speaks."""
    return START, *encoding.encode("assistant")


def _speaker(segment: Segment) -> tuple[Role | None, str | None]:
    """Who says it on which channel; whatever a model writes, the assistant says it."""
    if segment.message is None:
        return None, None
    return Role.ASSISTANT if segment.is_sampled else segment.message.author.role, segment.message.channel


def _common_prefix(one: list[int], other: list[int]) -> int:
    """How many elements two lists begin with in common, by comparing ever smaller slices."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
