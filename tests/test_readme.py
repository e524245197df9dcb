"""The README's programs run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_readme_runs(program: str, tmp_path: Path) -> None:
    """Copied into a file, each ends without an error."""
    run(program, tmp_path)


def test_the_agent_of_the_readme_tells_the_weather(tmp_path: Path) -> None:
    """The tiny model calls the function and says what it returned."""
    (program,) = (text for text in PROGRAMS if "get_weather" in text)
    answer = run(program, tmp_path)
    assert "Paris" in answer
    assert "21" in answer
    assert "sunny" in answer
