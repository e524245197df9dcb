"""The benchmark of the format runs."""

import subprocess
import sys
from pathlib import Path


def test_the_benchmark_prints_its_table() -> None:
    """Run once on little data, it gives a row of five cells for every operation."""
    command = [sys.executable, str(Path(__file__).with_name("format.py")), "--quick"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = [line.split(" | ") for line in printed.splitlines() if line.startswith("|")]
    assert {len(cells) for cells in table} == {5}
    operations = " ".join(cells[0] for cells in table)
    for operation in ("load", "render", "append", "parse", "stream", "encode"):
        assert operation in operations
