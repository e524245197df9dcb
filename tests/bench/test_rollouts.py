"""The rollouts run as a command: nothing wrong, counts that add up, and a run that goes on from its state."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).with_name("rollouts.py")


def run(*arguments: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    return {name.strip(): int(count.replace(",", "")) for name, count in lines}


def test_random_turns_are_valid(tmp_path: Path) -> None:
    """Sampled from random schemas, then from those of a file; going on equals one run."""
    first = run("--turns", "60", "--seed", "5")
    assert first["turns"] == 60
    ended = first["ended by themselves"] + first["closed at the budget"]
    assert ended + first.get("budget too small", 0) == 60
    schemas = tmp_path / "schemas.jsonl"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schemas.write_text(json.dumps({"schema": schema}) + "\n" + json.dumps({"schema": {"type": "array"}}))
    given = ["--seed", "7", "--schemas", str(schemas)]
    state = tmp_path / "state.json"
    run("--turns", "10", "--state", str(state), *given)
    resumed = run("--turns", "25", "--state", str(state), *given)
    whole = run("--turns", "25", *given)
    resumed.pop("seconds of this run"), whole.pop("seconds of this run")
    assert resumed == whole
    assert whole["JSON bodies"] > 10
