"""The harmony encoding: text to tokens and back, conversations to tokens, tokens to messages."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache, cached_property
from sys import getsizeof
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import tiktoken

from harmony.errors import HarmonyError, RenderError
from harmony.memo import Memo
from harmony.messages import Conversation, Message, RenderConversationConfig, RenderOptions, Role
from harmony.rendering import render_for_training, render_message, render_messages, render_turn_start
from harmony.streaming import StreamableParser
from harmony.training import TrainingConfig, TrainingExample, render_training_example, training_examples
from harmony.vocabulary import (
    CALL,
    ORDINARY_TOKENS,
    RETURN,
    SPECIAL_TOKENS,
    STOP_TOKENS,
    VOCABULARY_SIZE,
    ordinary_tokens,
    ranks,
    token_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet

# It matches what `\s+(?!\S)` does, in leaps of 256: one by one, a million spaces overflow the engine's stack.
_SPACE_BEFORE_SPACE: Final = r"(?:\s{256}(?=\s))*\s+(?!\S)"

_SPLIT: Final = "|".join(
    (
        r"(?:[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+)",
        _SPACE_BEFORE_SPACE,
        r"\s+",
    )
)
"""How o200k cuts text before it merges bytes; source: tiktoken, tiktoken_ext/openai_public.py.

The group, which changes no match, lets the regex engine run all but the two last rules as one automaton.
"""

_REMEMBERED_BYTES: Final = 2**25
"""Room for the texts that were rendered last: conversations come back with each turn."""

_LOOKS_SPECIAL: Final = re.compile(r"<\|[a-z0-9_]+\|>")


class HarmonyEncodingName(StrEnum):
    """The encodings that there are."""

    HARMONY_GPT_OSS = "HarmonyGptOss"


class HarmonyEncoding:
    """The encoding of the gpt-oss models; `load_encoding` makes it.

    >>> encoding = load_encoding()
    >>> encoding.decode(encoding.encode("hello world"))
    'hello world'
    """

    def __init__(self) -> None:
        remembered = Memo(self._encode_ordinary, size=_bytes_held, capacity=_REMEMBERED_BYTES)
        self._encode_text = remembered.__getitem__

    def __repr__(self) -> str:
        return f"<HarmonyEncoding {self.name}>"

    def __reduce__(self) -> tuple[object, ...]:
        return load_encoding, ()

    @property
    def name(self) -> str:
        """What `load_harmony_encoding` calls it."""
        return HarmonyEncodingName.HARMONY_GPT_OSS.value

    @property
    def split_pattern(self) -> str:
        """The regular expression that cuts text before bytes are merged."""
        return _SPLIT

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of every token, by id; those of a special token spell its name."""
        return token_bytes()

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """The texts of the 1,091 special tokens."""
        return set(SPECIAL_TOKENS)

    def is_special_token(self, token: int) -> bool:
        """Whether an id is no ordinary text: 199,998 and above, reserved ones among them."""
        return ORDINARY_TOKENS <= token < VOCABULARY_SIZE

    def stop_tokens(self) -> list[int]:
        """The tokens that end a message: `<|return|>`, `<|end|>` and `<|call|>`."""
        return sorted(STOP_TOKENS)

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        """The tokens at which the assistant waits for someone else: `<|return|>` and `<|call|>`."""
        return [RETURN, CALL]

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """The tokens of a text, in which the `allowed_special` texts become special tokens.

        Raises `HarmonyError` if one of the `disallowed_special` texts occurs, which by default are all
        special tokens that are not allowed; with `disallowed_special=()` they are ordinary text.
        """
        allowed = self.special_tokens_set if allowed_special == "all" else set(allowed_special)
        if (disallowed := _first_disallowed(text, allowed, disallowed_special)) is not None:
            raise_disallowed_special_token(disallowed)
        return self._bpe.encode(text, allowed_special=allowed, disallowed_special=())

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of tokens; bytes that are not UTF-8 are treated as `bytes.decode` would.

        Raises `HarmonyError` for an id outside the vocabulary.
        """
        return self._bytes(tokens).decode("utf-8", errors=errors)

    def decode_utf8(self, tokens: Sequence[int]) -> str:
        """The text of tokens; raises `HarmonyError` if their bytes are not UTF-8."""
        try:
            return self._bytes(tokens).decode("utf-8")
        except UnicodeDecodeError as error:
            raise HarmonyError(
                f"These tokens are not UTF-8 ({error}); decode() replaces such bytes."
            ) from error

    def render_conversation_for_completion(
        self,
        conversation: Conversation,
        next_turn_role: Role,
        config: RenderConversationConfig | None = None,
    ) -> list[int]:
        """The prompt after which `next_turn_role` speaks; raises `RenderError`."""
        prompt = self.render_conversation(conversation, config)
        return prompt + render_turn_start(Role(next_turn_role), self._encode_text)

    def render_conversation(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The tokens of all messages; raises `RenderError`."""
        config = config or RenderConversationConfig()
        return render_messages(
            conversation.messages,
            self._encode_text,
            drop_analysis=config.auto_drop_analysis,
            schema_profile=config.schema_profile,
        )

    def render_conversation_for_training(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The tokens of all messages, the assistant's last answer ended by `<|return|>`.

        Analysis is dropped here too unless `config` says otherwise. Raises `RenderError`.
        """
        config = config or RenderConversationConfig()
        return render_for_training(
            conversation.messages,
            self._encode_text,
            drop_analysis=config.auto_drop_analysis,
            schema_profile=config.schema_profile,
        )

    def render_training_example(
        self,
        conversation: Conversation,
        config: TrainingConfig | None = None,
        *,
        last_turn_only: bool = False,
    ) -> TrainingExample:
        """The tokens of all messages, with a mask of those that the assistant learns to produce.

        All that it says is learned, or with `last_turn_only` what follows the last user message. Raises
        `RenderError`.
        """
        return render_training_example(
            conversation.messages,
            self._encode_text,
            config or TrainingConfig(),
            last_turn_only=last_turn_only,
        )

    def training_examples(
        self, conversation: Conversation, config: TrainingConfig | None = None
    ) -> list[TrainingExample]:
        """An example for each turn in which the assistant speaks, its prompt as it is at inference.

        Raises `RenderError`.
        """
        return training_examples(conversation.messages, self._encode_text, config or TrainingConfig())

    def render(self, message: Message, render_options: RenderOptions | None = None) -> list[int]:
        """The tokens of one message; raises `RenderError`."""
        options = render_options or RenderOptions()
        has_functions = options.conversation_has_function_tools
        return render_message(message, self._encode_text, has_functions, options.schema_profile)

    def parse_messages_from_completion_tokens(
        self, tokens: Sequence[int], role: Role | None = None, *, strict: bool = True
    ) -> list[Message]:
        """The messages in sampled tokens; with `role`, the tokens go on after `<|start|>` and that role.

        Raises `ParseError` for tokens that are not a harmony stream, unless `strict` is False; then all
        text is kept, and a `StreamableParser` tells what was repaired.
        """
        parser = StreamableParser(self, role, strict=strict)
        return parser.process_all(tokens).process_eos().messages

    @cached_property
    def _bpe(self) -> tiktoken.Encoding:
        """Built when it is first needed; parsing does without."""
        return tiktoken.Encoding(
            self.name,
            pat_str=_SPLIT,
            mergeable_ranks=ranks(),
            special_tokens=SPECIAL_TOKENS,
        )

    def _encode_ordinary(self, text: str) -> tuple[int, ...]:
        return tuple(self._bpe.encode_ordinary(_checked(text)))

    def _bytes(self, tokens: Sequence[int]) -> bytes:
        try:
            return self._bpe.decode_bytes([*tokens])
        except (KeyError, OverflowError) as error:
            raise HarmonyError(f"There is a token outside the vocabulary: {error}.") from error


@cache
def load_encoding() -> HarmonyEncoding:
    """The harmony encoding, read from the bundled vocabulary once and then kept; it needs no network.

    The merges of BPE are set up when text is first encoded, which takes longer than all else.

    Raises `VocabularyError` if the bundled file is damaged.
    """
    ordinary_tokens()
    return HarmonyEncoding()


def load_harmony_encoding(name: str | HarmonyEncodingName) -> HarmonyEncoding:
    """The encoding of this name, cached; raises `ValueError` if there is none."""
    HarmonyEncodingName(name)
    return load_encoding()


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Raise the error of `HarmonyEncoding.encode` for text that it is not allowed to encode."""
    raise HarmonyError(
        f"The text contains {token!r}, which is disallowed. Pass allowed_special={{{token!r}}} to encode "
        "it as a special token, or disallowed_special=() to encode it as ordinary text."
    )


def _first_disallowed(
    text: str, allowed: AbstractSet[str], disallowed: Literal["all"] | Collection[str]
) -> str | None:
    if disallowed == "all":
        found = (match.group() for match in _LOOKS_SPECIAL.finditer(text))
        return next((mark for mark in found if mark in SPECIAL_TOKENS and mark not in allowed), None)
    if not disallowed:
        return None
    match = re.search("|".join(map(re.escape, disallowed)), text)
    return match and match.group()


def _bytes_held(text: str, tokens: tuple[int, ...]) -> int:
    """About what a text with its tokens takes in memory: the entry itself, and 36 bytes a token."""
    return 200 + getsizeof(text) + 36 * len(tokens)


def _checked(text: str) -> str:
    """The text itself, which has no lone surrogates; as JSON does, two that make a pair are one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise RenderError("A text holds a lone surrogate, which is no character; remove it.") from error
    return text
