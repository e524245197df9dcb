"""The rows of a run, as they are printed and as they are written to a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harmony.runtime.bench.machine import Machine

HEAD = "| figure | measured | bound | share |\n| --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its value and the bound beside it, in `unit`; or in `note` why there is none.

    The share of a rate is that of its bound; of a time, for which `less` is better, the bound's of it.
    """

    figure: str
    value: float | None = None
    unit: str = ""
    bound: float | None = None
    note: str = ""
    less: bool = False

    @property
    def share(self) -> float | None:
        if self.value is None or self.bound is None:
            return None
        return self.bound / self.value if self.less else self.value / self.bound

    def __str__(self) -> str:
        measured = "not measured" if self.value is None else f"{self.value:.4g} {self.unit}".strip()
        cells = [
            self.figure,
            f"{measured}: {self.note}" if self.note else measured,
            "" if self.bound is None else f"{self.bound:.4g}",
            "" if self.share is None else f"{self.share:.1%}",
        ]
        return f"| {' | '.join(cells)} |"


def write_json(file: Path, machine: Machine, shape: str, command: Sequence[str], rows: Sequence[Row]) -> None:
    """The raw table, with the machine and the command that made it."""
    document = {
        "machine": asdict(machine),
        "shape": shape,
        "command": ["python", "-m", "harmony.runtime.bench", *command],
        "rows": [asdict(row) | {"share": row.share} for row in rows],
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
