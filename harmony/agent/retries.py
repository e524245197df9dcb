"""Retries of a turn whose engine failed, under a rule that is easy to reason about."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Retries:
    """How often a turn is asked for again when its engine failed before the first token of the turn.

    Then nothing was sampled, shown or run, so that asking again repeats nothing. After the first token an
    EngineError ends the run; what was said is in the transcript, from which `run(None, ...)` goes on. Tools
    are never called again. Before attempt n + 1 there is a wait of `seconds` times 2**(n - 1); an attempt for
    which the run has no time left is not made. None are made by default: an engine on this machine fails
    again, while a server may be back in a moment.
    """

    attempts: int = 0
    seconds: float = 1.0

    def wait(self, failures: int, left: float | None) -> float | None:
        """Seconds until the next attempt after so many failures; None when there is none."""
        wait = self.seconds * 2.0 ** (failures - 1)
        return None if failures > self.attempts or (left is not None and wait >= left) else wait


NO_RETRIES = Retries()
"""The first failure is raised."""
