"""The check command, as far as a machine without a GPU can tell."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from harmony.kernels.check import Device, Row, _measured, main
from harmony.kernels.triton import cases, timing

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


def test_every_kernel_is_right_in_the_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kernel on small sizes, for one sequence and for more; the table is printed and written."""
    file = tmp_path / "table.json"
    assert main(["--interpret", "--json", str(file)]) == 0
    rows = [Row(**row) for row in json.loads(file.read_text())["kernels"]]
    assert {row.batch for row in rows} == {1, 4, 16}
    assert all(row.right and row.microseconds is None for row in rows)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in shown[1:-1]] == [row.kernel for row in rows]
    assert shown[-1] == f"{len(rows)} of {len(rows)} right"


def test_a_wrong_kernel_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1 and the line says WRONG, be a result off or not a number."""
    for wrong in (torch.zeros(1, 96), torch.full((1, 96), float("nan"))):
        monkeypatch.setattr(cases, "expert_down", lambda *_, wrong=wrong: wrong)
        assert main(["--interpret", "--only", "expert_down", "--batch", "1"]) == 1
        shown = capsys.readouterr().out
        assert "WRONG" in shown
        assert "0 of 1 right" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([], "--interpret", marks=without_gpu),
        (["--interpret", "--only", "nothing", "--batch", "1"], "--only"),
        (["--interpret", "--json", "/nowhere/table.json"], "/nowhere/table.json"),
        (["--batch", "3"], "--batch"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No GPU, no such kernel, no such folder, no such batch: exit status 2 and what to do."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_rates_are_bytes_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a second moves its bytes a second, and stands beside the limits measured."""
    monkeypatch.setattr(timing, "seconds", lambda run, steps: 1.0)
    monkeypatch.setattr(cases, "GPT_OSS_20B", cases.SMALL)
    device = Device("card", "9.0", "13", "2", "3", 1e-3, 1e-6, 2.0, 1.0)
    options = Namespace(interpret=False, model=None, batch=1, only="dense out")
    row = next(_measured(options, device))
    moved = 2 * 96 * 64 + 2 * 64 + 8 * 96
    assert row.gigabytes_a_second == moved / 1e9
    assert row.of_copy == pytest.approx(moved / 1e6)
    assert row.of_product == pytest.approx(2 * 96 * 64 / 1e6)


def test_torch_and_triton_suffice() -> None:
    """The command loads none of the package's other dependencies, so a GPU machine needs no install."""
    program = """
import sys
from harmony.kernels.check import main
status = main(["--interpret", "--only", "sample", "--batch", "1"])
print(sorted({"tiktoken", "pydantic", "jsonschema", "httpx", "rich", "numba"} & set(sys.modules)), status)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[] 0"
