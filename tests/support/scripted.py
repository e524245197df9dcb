"""An engine that samples what a test wrote down, so that the loop meets what models really emit."""

from collections.abc import AsyncGenerator, Collection, Sequence

from harmony import load_encoding
from harmony.errors import ContextLengthError
from harmony.runtime.generation import GeneratedToken, SamplingParams


class Scripted:
    """Each turn samples the next text; special tokens are written out. It keeps the prompts it was given."""

    name = "scripted"
    default_sampling = SamplingParams()

    def __init__(self, *turns: str, context_length: int = 100_000) -> None:
        self.context_length = context_length
        self.prompts: list[list[int]] = []
        self.closed = False
        self._turns = [load_encoding().encode(turn, allowed_special="all") for turn in turns]

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        if len(prompt) >= self.context_length:
            raise ContextLengthError("the prompt is too long")
        self.prompts.append(list(prompt))
        tokens = self._turns[len(self.prompts) - 1]
        limit = min(sampling.max_tokens or len(tokens), self.context_length - len(prompt))
        for number, token in enumerate(tokens, start=1):
            if token in stop:
                yield GeneratedToken(token, "stop")
                return
            yield GeneratedToken(token, "length" if number == limit else None)
            if number == limit:
                return

    async def aclose(self) -> None:
        self.closed = True
