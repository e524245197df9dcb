"""The benchmark of schemas counts what is right, refused and wrongly accepted."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent / "schemas.py"
ROWS: list[tuple[Any, list[tuple[Any, bool]]]] = [
    ({"type": "object", "properties": {"a": {"type": "integer"}}}, [({"a": 1}, True), ({"a": "x"}, False)]),
    ({"type": "array", "uniqueItems": True}, [([1, 2], True), ([1, 1], False)]),
    ({"type": "string", "format": "date-time"}, [("2024-01-01T00:00:60Z", False)]),
    ({"type": "string"}, [("x", False)]),
    ({"$ref": "https://example.com"}, [(1, True)]),
]


def test_the_command_counts(tmp_path: Path) -> None:
    """Of five schemas one is wrongly labelled and one is refused; one is right by the veto alone."""
    rows = [
        {"name": str(number), "schema": schema, "tests": [{"data": data, "valid": v} for data, v in tests]}
        for number, (schema, tests) in enumerate(ROWS)
    ]
    sample = tmp_path / "sample.jsonl.gz"
    sample.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    command = [sys.executable, str(BENCH), "--maskbench", str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    scores = {line[:34].strip(): line[34:].split() for line in done.stdout.splitlines()}
    # right, =, share, refused, then schemas and tests with invalid values accepted
    assert scores["harmony, mask alone (strict)"][:7] == ["2", "=", "40.0%", "2", "1", "/", "1"]
    assert scores["harmony, mask and veto"][:7] == ["3", "=", "60.0%", "1", "1", "/", "1"]
    assert scores["llguidance as shipped"][4:7] == ["2", "/", "2"]
    assert "uniqueItems 1" in done.stdout
