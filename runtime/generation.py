"""What an engine takes and gives: sampling parameters in, generated tokens out.

No torch here, so that a remote engine runs in the light install.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, runtime_checkable

if TYPE_CHECKING:
    from harmony.runtime.constraint import Constraint

FinishReason = Literal["stop", "length"]
"""Why a generation ended: with a stop token, or at its limit."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn from the logits.

    `temperature` 0 takes the most likely token. `top_k` 0, `top_p` 1 and `min_p` 0 switch those
    filters off. The same `seed` and prompt give the same tokens on the same engine; None draws a
    fresh seed. `max_tokens` None means up to the end of the context. `logprobs` is how many of the
    most likely tokens are reported at each step, from the unfiltered distribution at temperature 1;
    None reports none, 0 only that of the sampled token.

    Raises ValueError for a value out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        in_range = {
            "temperature must be 0 or more": self.temperature >= 0,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
            "top_k must be 0 (off) or more": self.top_k >= 0,
            "min_p must be from 0 to 1": 0 <= self.min_p <= 1,
            "seed must be 0 or more": self.seed is None or self.seed >= 0,
            "max_tokens must be 1 or more": self.max_tokens is None or self.max_tokens >= 1,
            "logprobs must be 0 or more": self.logprobs is None or self.logprobs >= 0,
        }
        for rule, holds in in_range.items():
            if not holds:
                raise ValueError(f"{rule}: {self}")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A candidate token and the natural logarithm of its probability."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One sampled token.

    `finish_reason` is set on the last one: "stop" when it is one of the stop tokens, "length" when the
    limit or the context ended the generation; `closed` then says whether a grammar was led to its end in
    time. A token that a grammar forced was not sampled and has no logprob. `cached_tokens` is how many
    tokens of the prompt the engine still held and did not compute again.
    """

    token: int
    finish_reason: FinishReason | None = None
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int = 0
    closed: bool = False


class TokenEngine(Protocol):
    """Anything that continues a sequence of token ids: the local engine or a remote server."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and completion may have together."""

    @property
    def default_sampling(self) -> SamplingParams:
        """What the model's own generation_config.json asks for, else the card's defaults."""

    def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        """Yield tokens until one of `stop` was sampled (it is yielded too) or a limit is reached.

        Closing the generator cancels the generation. Raises ContextLengthError before the first
        token when the prompt leaves no room, EngineError when the engine fails.
        """

    async def aclose(self) -> None:
        """Release the model's memory or the server's connections."""


@runtime_checkable
class ConstrainedEngine(TokenEngine, Protocol):
    """An engine that can keep a generation to a grammar."""

    @property
    def vocab_size(self) -> int:
        """The number of ids that its logits have."""

    def generate(
        self,
        prompt: Sequence[int],
        sampling: SamplingParams,
        *,
        stop: Collection[int],
        constraint: "Constraint | None" = None,
    ) -> AsyncGenerator[GeneratedToken]:
        """As TokenEngine.generate; raises GrammarError and ConstraintError too."""


def keeps_to_grammars(engine: TokenEngine) -> TypeGuard[ConstrainedEngine]:
    """Whether an engine is a ConstrainedEngine; `isinstance` says the same in the time of several tokens."""
    return hasattr(engine, "vocab_size")
