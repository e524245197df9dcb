"""`python -m harmony.runtime.bench --shape` runs whole on a CPU, at its smallest."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from served import served

from harmony.runtime.bench import serving
from harmony.runtime.bench.__main__ import main
from harmony.runtime.bench.loading import find_or_write
from harmony.runtime.bench.shapes import SHAPES
from harmony.runtime.models import load_engine

SMALL = ["--shape", "tiny", "--threads", "1", "--turns", "2", "--tokens", "8"]


def run(file: Path, *options: str) -> list[dict[str, Any]]:
    """The rows that a run writes."""
    assert main([*SMALL, "--json", str(file), *options]) == 0
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return rows


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each figure of the engine has its row, in print and in the file; what was not measured says why."""
    options = ["--batches", "1,3,40", "--contexts", "40,130"]
    rows = run(tmp_path / "table.json", *options)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(printed) == len(rows) + 2
    by_figure = {row["figure"]: row for row in rows}
    for context in (40, 130):
        for batch in (1, 3, 40):
            row = by_figure[f"harmony decode, batch {batch}, context {context}"]
            assert row["value"] > 0
            assert row["share"] == pytest.approx(row["value"] / row["bound"])
        assert by_figure[f"prefill of {context}"]["value"] > 0
    turn = by_figure["first token of a turn of 200 after 130"]
    assert turn["note"] == "137 tokens came from the cache"
    assert turn["share"] == pytest.approx(turn["bound"] / turn["value"])
    assert by_figure["constrained to free decoding, batch 1"]["value"] > 0
    assert by_figure["idle between steps, batch 1"]["note"] == "kernels are timed on a GPU only"
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["command"][-4:] == options
    assert document["machine"]["torch_version"] == torch.__version__
    assert document["machine"]["bandwidth"] > 0


def test_what_does_not_fit_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell whose cache is larger than the free memory says what it needs; the others are measured."""
    config = SHAPES["tiny"]
    plan = serving.Plan([1], [40, 700], 8, 1)
    room = serving.estimate(config, plan.positions(1, 40), torch.bfloat16, max_sequences=1)
    monkeypatch.setattr(serving, "free_memory", lambda device: room.cache + room.work)
    rows = run(tmp_path / "table.json", "--batches", "1", "--contexts", "40,700")
    found = {row["figure"]: row for row in rows if "decode," in row["figure"]}
    assert found["harmony decode, batch 1, context 40"]["value"] > 0
    assert "are free" in found["harmony decode, batch 1, context 700"]["note"]


def test_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    """With a folder, the shape is written there and its loading stands before the engine's figures; the next
    run takes what is there."""
    folder = tmp_path / "model"
    options = ["--folder", str(folder), "--batches", "1", "--contexts", "40"]
    first = run(tmp_path / "table.json", *options)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = run(tmp_path / "table.json", *options)
    assert written == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for rows in (first, again):
        reading, copying, load, decode = rows[:4]
        assert load["figure"] == "load"
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert load["bound"] == pytest.approx(size / min(reading["value"], copying["value"]) / 1e9)
        assert decode["figure"] == "harmony decode, batch 1, context 40"


@pytest.mark.parametrize("other", ["notes.txt", "model.safetensors"])
def test_a_folder_of_other_files_stays_as_it_is(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random checkpoint is written into an empty folder, or over one that was not finished."""
    find_or_write(tmp_path, SHAPES["tiny"])
    (tmp_path / "config.json").unlink()
    again = find_or_write(tmp_path, SHAPES["tiny"])
    assert again.config == SHAPES["tiny"]
    (tmp_path / "config.json").unlink()
    (tmp_path / other).touch()
    assert main(["--folder", str(tmp_path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told in one line."""
    (tmp_path / "file").touch()
    assert main(["--folder", str(tmp_path / "file")]) == 2
    assert "cannot be a folder (File exists)" in capsys.readouterr().err


def test_beside_transformers_and_a_server(tmp_path: Path) -> None:
    """Their decoding is measured in the same way, and divided by."""
    for other in ("transformers", "server"):
        with served(load_engine("tiny")) as url:
            vs = url if other == "server" else other
            rows = run(tmp_path / "table.json", "--batches", "1", "--contexts", "40", "--vs", vs)
        theirs, ratio = rows[-2:]
        assert theirs["figure"].endswith(" decode, batch 1, context 40")
        assert not theirs["figure"].startswith("harmony")
        assert ratio["value"] == pytest.approx(rows[0]["value"] / theirs["value"])


CORRUPTED = """
import sys
from harmony.kernels import packed
from harmony.runtime.bench import check, shapes
from harmony.runtime.bench.__main__ import main
check.PROMPT, check.DECODED = 20, 2  # enough to see it
pack = shapes.pack
shapes.pack = lambda blocks, scales: pack(blocks.roll(1, 0), scales)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("program", "status"), [(["-m", "harmony.runtime.bench"], 0), (["-c", CORRUPTED], 1)]
)
def test_check(program: list[str], status: int, tmp_path: Path) -> None:
    """The kernels' model passes in the interpreter, and one whose experts are confused does not."""
    file = tmp_path / "table.json"
    command = [sys.executable, *program, *SMALL, "--check", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    last = json.loads(file.read_text())["rows"][-1]
    assert last["figure"] == "error to float32, kernels"
    assert (last["value"] <= last["bound"]) == (status == 0)


def test_ranks(tmp_path: Path) -> None:
    """Two processes decode what is cut over them, and their rate stands beside twice the bandwidth."""
    file = tmp_path / "table.json"
    options = ["--ranks", "2", "--contexts", "40", "--json", str(file)]
    command = [sys.executable, "-m", "harmony.runtime.bench", *SMALL, *options]
    subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(file.read_text())["rows"]
    assert row["figure"] == "2 ranks decode, batch 1, context 40"
    assert row["value"] > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--shape", "tiny", "--vs", "llama.cpp"], "goes with a checkpoint"),
        (["--vs", "transformers"], "goes with a checkpoint"),
        (["--check"], "name one"),
        (["--shape", "tiny", "--batches", "some"], "must be a whole number"),
        (["--turns", "0"], "must be a whole number"),
        (["--experts", "3"], "goes to 4"),
        (["--device", "gpu"], "cpu, cuda or cuda:N"),
        (["--together", "2", "--tokens", "1"], "raise --tokens"),
        (["--layer", "2"], "did you mean --layers?"),
        (["--folder", __file__], "cannot be a folder (File exists)"),
        (["--shape", "tiny", "--json", f"{__file__}/rows.json"], "cannot be written: Not a directory"),
    ],
)
def test_options_that_cannot_be(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Are refused in one line, before anything is measured."""
    assert main(options) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert told in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """`--device cuda` says that there is none, in one line."""
    assert main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("error: torch sees no GPU here")


def test_too_many_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    """More ranks than key heads are refused before a process starts."""
    assert main([*SMALL, "--ranks", "3"]) == 2
    assert "cut it over 1 to 2 devices" in capsys.readouterr().err
