"""The command that indexes a folder."""

from pathlib import Path

import pytest

from harmony.tools.browser.__main__ import main


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("apples")
    (docs / "b.txt").write_text("pears")
    (docs / "c.pdf").write_text("broken")
    return docs


def test_a_folder_is_indexed(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output says what was done and where the index is, standard error what was skipped."""
    file = tmp_path / "index.sqlite3"
    assert main(["index", str(docs), "--index", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"2 pages: 2 new, 0 changed, 0 removed, 1 skipped\nindex: {file}\n"
    assert err.startswith("skipped local:///c.pdf: The PDF cannot be read")
    (docs / "a.md").unlink()
    assert main(["index", str(docs), "--index", str(file)]) == 0
    assert capsys.readouterr().out.startswith("1 pages: 0 new, 0 changed, 1 removed, 1 skipped")


def test_the_index_is_the_one_that_the_browser_takes(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the cache, where no file is named."""
    from harmony.tools.browser import Local

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["index", str(docs)]) == 0
    assert f"index: {Local(docs).index_file}\n" in capsys.readouterr().out
    assert Local(docs).update().unchanged == 2


def test_many_notes_are_counted(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder full of broken files does not fill the screen."""
    for number in range(30):
        (docs / f"{number}.pdf").write_text("broken")
    assert main(["index", str(docs), "--index", ":memory:"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert (len(err), err[-1]) == (21, "skipped 11 more")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["index"], "FOLDER"),
        (["index", "nowhere"], "there is no folder 'nowhere'"),
        (["index", ".", "--index", "/proc/no/such"], "name another file"),
        (["inedx", "."], "choose from"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    """No traceback, nothing on standard output, and what to do."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert says in err


def test_an_interrupt_is_status_130(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leaves no half of an index."""
    from harmony.tools.browser import index

    file = tmp_path / "index.sqlite3"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index, "read", interrupted)
        assert main(["index", str(docs), "--index", str(file)]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert main(["index", str(docs), "--index", str(file)]) == 0
    assert capsys.readouterr().out.startswith("2 pages: 2 new")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """What is read, where the index goes, and how to ask."""
    with pytest.raises(SystemExit) as ended:
        main(["index", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for word in ("html, md, txt, rst and pdf", "cache", "--docs docs/", "16 MiB"):
        assert word in shown
