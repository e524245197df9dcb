"""What keeps a turn well-formed while it is sampled: a grammar, where the engine can keep to one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from harmony import TurnGrammar
from harmony.errors import GrammarError
from harmony.memo import Memo
from harmony.runtime.generation import keeps_to_grammars

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from harmony.agent.output import Output
    from harmony.agent.routing import Toolbox
    from harmony.agent.run import Run
    from harmony.runtime.constraint import Constraint
    from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine

T = TypeVar("T")

_KEPT = 8
"""How many grammars an agent keeps: one for each output and tool choice."""


@dataclass(frozen=True)
class Enforcement:
    """The constraint of a turn; without one, the `notice` says why, unless nothing was expected.

    `required` makes it an error when the grammar turns out not to be enforceable.
    """

    constraint: Constraint | None = None
    notice: str | None = None
    required: bool = False


FREE = Enforcement()
"""Nothing is enforced."""


class Enforcer:
    """Makes what keeps the turns of an agent to its tools and to the answer that was asked for.

    With `strict` it is an error when a turn cannot be kept to the tools; it always is when something was
    asked for that only a grammar can promise.
    """

    def __init__(self, toolbox: Toolbox, *, strict: bool) -> None:
        self._toolbox = toolbox
        self._strict = strict
        self._grammars = Memo(self._grammar, size=lambda *_: 1, capacity=_KEPT)

    def enforcement(self, engine: TokenEngine, run: Run[T]) -> Enforcement:
        """That of the next turn. Raises GrammarError when one is required and cannot be had."""
        required = self._strict or run.asked.format is not None or run.tool_choice != "auto"
        if not required and not keeps_to_grammars(engine):
            return FREE
        try:
            constraint = constrain(
                engine,
                lambda: self._grammars[run.asked, run.tool_choice],
                reasoning_tokens=run.reasoning_left(),
            )
            return Enforcement(constraint, required=required)
        except GrammarError as error:
            if required:
                raise
            notice = f"tool calls and answers are not enforced: {error}"
            return FREE if run.turns else Enforcement(notice=notice)

    def _grammar(self, key: tuple[Output[Any], str]) -> TurnGrammar:
        asked, tool_choice = key
        return TurnGrammar.of(
            [tool.description for tool in self._toolbox.functions.values()],
            [tool.namespace for tool in self._toolbox.builtin.values()],
            tool_choice=tool_choice,
            response=asked.format,
        )


def missing_packages() -> list[str]:
    """What enforcing needs and is not installed."""
    return [name for name in ("numpy", "llguidance") if find_spec(name) is None]


def constrain(
    engine: TokenEngine, grammar: Callable[[], TurnGrammar], *, reasoning_tokens: int | None = None
) -> Constraint:
    """What keeps one turn of an engine to a grammar, which is asked for once the engine is known to be able.

    Raises GrammarError when it is not, and what `grammar` raises.
    """
    if not keeps_to_grammars(engine):
        raise GrammarError(f"{engine.name} keeps to no grammar; use another engine")
    if missing := missing_packages():
        raise GrammarError(f"enforcing needs {' and '.join(missing)}: pip install 'gpt-oss-harmony[local]'")
    from harmony.agent.grammars import turn_constraint

    return turn_constraint(grammar(), engine.vocab_size, reasoning_tokens=reasoning_tokens)


def generate(
    engine: TokenEngine,
    prompt: Sequence[int],
    sampling: SamplingParams,
    *,
    stop: Collection[int],
    constraint: Constraint | None,
) -> AsyncGenerator[GeneratedToken]:
    """What an engine generates, kept to what `constrain` made for it."""
    if constraint is None:
        return engine.generate(prompt, sampling, stop=stop)
    assert keeps_to_grammars(engine)
    return engine.generate(prompt, sampling, stop=stop, constraint=constraint)
