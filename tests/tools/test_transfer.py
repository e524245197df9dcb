"""Files into a session and out of it: only regular files, only so large, and through no link."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.errors import ToolError
from harmony.tools import Python
from harmony.tools.python import BackendName, Limits, transfer

SECRET = "the host's own"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A session's folder, with a secret of the host beside it, and every way to get at it planted inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    inside = tmp_path / "data"
    (inside / "sub").mkdir(parents=True)
    (inside / "plain").write_bytes(b"plain")
    (inside / "sub" / "deep").write_bytes(b"deep")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "chain").symlink_to("link")
    (inside / "away").symlink_to(outside)
    (inside / "sub" / "up").symlink_to("../..")
    os.mkfifo(inside / "pipe")
    return inside


def test_only_regular_files_are_listed(folder: Path) -> None:
    """Links, pipes and folders are no files, and no link to a folder is entered."""
    assert transfer.names(folder, 10) == ["plain", "sub/deep"]
    assert len(transfer.names(folder, 1)) == 1


def test_regular_files_are_read(folder: Path) -> None:
    """A file is read by its name, in a folder by its path."""
    assert transfer.read(folder, "plain", 5) == b"plain"
    assert transfer.read(folder, "sub/deep", 5) == b"deep"


@pytest.mark.parametrize(
    "name",
    [
        *("link", "chain", "away/secret", "sub/up/outside/secret", "pipe", "sub", "", ".", "missing"),
        *("../outside/secret", "sub/../../outside/secret", "/etc/passwd", "plain/x", "a\0b", "x" * 300),
    ],
)
def test_nothing_else_is_read(folder: Path, name: str) -> None:
    """No name leads out of the folder, blocks, or ends in anything but ToolError."""
    with pytest.raises(ToolError):
        transfer.read(folder, name, 100)


@given(st.text("./a\0\\~$lin k") | st.text())
def test_no_name_escapes(name: str) -> None:
    """Whatever the name, the answer is ToolError: this folder has no file."""
    with pytest.raises(ToolError):
        transfer.read(Path("/proc/self/fdinfo/.."), f"{name}/none", 100)


def test_a_large_file_is_refused(folder: Path) -> None:
    """A file over the cap is not read, however its size is told."""
    with pytest.raises(ToolError, match="larger than 4 bytes"):
        transfer.read(folder, "plain", 4)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ToolError, match="larger"):
        transfer.read(folder, "sparse", 4)


def test_saving_copies_regular_files_alone(folder: Path, tmp_path: Path) -> None:
    """What is saved are the regular files, in their folders, but those over the cap."""
    (folder / "large").write_bytes(bytes(9))
    transfer.save(folder, tmp_path / "kept", 5, 10)
    kept = [path for path in sorted((tmp_path / "kept").rglob("*")) if not path.is_dir()]
    assert [path.relative_to(tmp_path / "kept").as_posix() for path in kept] == ["plain", "sub/deep"]


def test_files_go_in_and_come_out(backend: BackendName, tmp_path: Path) -> None:
    """A cell reads what was put in; what it writes can be read, and is kept when the session closes."""
    source = tmp_path / "sales.csv"
    source.write_text("a,b\n1,2\n")

    async def session() -> tuple[str, list[str], bytes]:
        python = Python(backend, files=[source], keep=tmp_path / "kept")
        assert python.list_files() == []
        rows = await python.call(None, "print(open('sales.csv').read()); open('sales.csv', 'a').write('3')")
        await python.call(None, "import os; os.mkdir('d'); open('d/new', 'w').write('new');")
        await python.call(None, "os.symlink('/etc/shadow', 'shadow')")
        with pytest.raises(ToolError):
            python.read_file("shadow")
        names, new = python.list_files(), python.read_file("d/new")
        await python.aclose()
        return rows, names, new

    rows, names, new = asyncio.run(session())
    assert rows == "a,b\n1,2\n\n1"
    assert (names, new) == (["d/new", "sales.csv"], b"new")
    assert source.read_text() == "a,b\n1,2\n"
    assert (tmp_path / "kept" / "sales.csv").read_text() == "a,b\n1,2\n3"
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["d", "sales.csv"]


def test_files_come_back_after_an_eviction(backend: BackendName, tmp_path: Path) -> None:
    """A session that lost its files for taking too much has those that were put in again."""
    source = tmp_path / "in.txt"
    source.write_text("in")
    limits = Limits(disk=4 << 20, files=50)
    fill = "for i in range(60): open(str(i), 'w').close()\nimport time; time.sleep(60)"

    async def session() -> str:
        python = Python(backend, files=[source], limits=limits)
        assert "all files are removed" in await python.call(None, fill)
        answer = await python.call(None, "import os; os.listdir(), open('in.txt').read()")
        await python.aclose()
        return answer

    assert asyncio.run(session()) == "(['in.txt'], 'in')"


def test_files_that_cannot_be_put_in(tmp_path: Path) -> None:
    """A missing file, a folder, two of one name and too much are refused when the tool is made."""
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "a", tmp_path / "sub" / "a"):
        path.write_bytes(bytes(10))
    for files, says in (
        ([tmp_path / "missing"], "is not a file"),
        ([tmp_path], "is not a file"),
        ([tmp_path / "a", tmp_path / "sub" / "a"], "one name"),
    ):
        with pytest.raises(ToolError, match=says):
            Python(files=files)
    with pytest.raises(ToolError, match="10 bytes, more than the 9"):
        Python(files=[tmp_path / "a"], limits=Limits(disk=9))


def test_reading_before_the_session_begins() -> None:
    """There is nothing to read yet, and the error says so."""
    with pytest.raises(ToolError, match="has not begun"):
        Python().read_file("a")
