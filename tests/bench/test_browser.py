"""The benchmark of the browser runs."""

import subprocess
import sys
from pathlib import Path


def test_the_benchmark_prints_its_table() -> None:
    """Run once on a few pages, it gives a row of four cells for every figure."""
    command = [sys.executable, str(Path(__file__).with_name("browser.py")), "--pages", "30"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
    for figure in ("index 30 pages", "look for changes", "search, the median", "HTML to numbered text"):
        assert any(figure in row for row in rows)
