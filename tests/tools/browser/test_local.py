"""The local back end: a folder searched through its index, and read without leaving it."""

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from pdf_file import pdf

from harmony.errors import ToolError
from harmony.tools.browser import Browser, Local
from harmony.tools.browser import folder as folder_module
from harmony.tools.browser.backend import Result
from harmony.tools.browser.index import MEMORY, Index


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with a page of each kind, beside a file that is none of its business."""
    docs = tmp_path / "docs"
    (docs / "deep" / "er").mkdir(parents=True)
    (docs / "apples.html").write_text(
        "<title>Apples</title><h1>Apples</h1><p>They are red. Some are green.</p>"
    )
    (docs / "deep" / "pears.md").write_text("# Pears\n\nGreen, and [round](../apples.html). Café.\n")
    (docs / "deep" / "er" / "plums.rst").write_text("Plums\n=====\n\nBlue.\n")
    (docs / "a note.txt").write_text("Buy apples and pears.\n")
    (docs / "paper.PDF").write_bytes(pdf("On cherries", ["Cherries are small."]))
    (docs / "image.png").write_text("apples")
    (docs / ".hidden.md").write_text("apples")
    (docs / ".git").mkdir()
    (docs / ".git" / "notes.md").write_text("apples")
    (tmp_path / "secret.md").write_text("apples")
    return docs


@pytest.fixture
def local(docs: Path, tmp_path: Path) -> Local:
    return Local(docs, index=tmp_path / "index.sqlite3")


def search(local: Local, query: str, n: int = 10) -> list[Result]:
    return asyncio.run(local.search(query, n))


def urls(local: Local, query: str, n: int = 10) -> list[str]:
    return [result.url for result in search(local, query, n)]


def fetch(local: Local, url: str) -> str:
    return asyncio.run(local.fetch(url)).text


def test_every_kind_of_page_is_found(local: Local) -> None:
    """By its title and its text, inflected or not; nothing hidden and no other kind is."""
    assert urls(local, "cherry") == ["local:///paper.PDF"]
    assert urls(local, "PLUM") == ["local:///deep/er/plums.rst"]
    assert urls(local, "cafe") == ["local:///deep/pears.md"]
    assert set(urls(local, "apples")) == {"local:///apples.html", "local:///a%20note.txt"}


def test_a_title_weighs_more_than_the_text(local: Local, docs: Path) -> None:
    """And pages with all words come before pages with some."""
    assert urls(local, "apples")[0] == "local:///apples.html"
    first, *others = urls(local, "apples pears")
    assert first == "local:///a%20note.txt"
    assert set(others) == {"local:///apples.html", "local:///deep/pears.md"}
    assert len(urls(local, "apples pears", 2)) == 2


def test_results_have_titles_and_snippets(local: Local) -> None:
    """The snippet is the text around the words."""
    (result,) = search(local, "green red")[:1]
    assert (result.title, "They are red." in result.snippet) == ("Apples", True)


def test_a_phrase_comes_before_its_words(local: Local, docs: Path) -> None:
    """A page that has the words side by side is what was meant."""
    (docs / "words.txt").write_text("Kernel of a nut. " * 9 + "A panic.\n")
    (docs / "phrase.txt").write_text("Much else. " * 40 + "A kernel panic.\n")
    assert urls(local, "kernel panic")[0] == "local:///phrase.txt"


@pytest.mark.parametrize("before", [0, 3, 4, 5, 200])
def test_a_result_opens_at_its_match(local: Local, docs: Path, before: int) -> None:
    """A few lines before the line that the snippet is about."""
    (docs / "long.txt").write_text("Nothing here…\n" * before + "The needle, the needle.\n" + "Hay.\n" * 99)
    browser = Browser(local)
    asyncio.run(browser.call("search", '{"query": "needle"}'))
    shown = asyncio.run(browser.call("open", '{"id": 0, "num_lines": 9}'))
    assert f"\nL{before}: The needle" in shown
    assert f"viewing lines [{max(0, before - 4)} - " in shown


def test_a_result_that_matches_by_its_title_opens_at_the_top(local: Local, docs: Path) -> None:
    """There is no line to go to."""
    (docs / "long.html").write_text("<title>Quinces</title>" + "<p>Fruit.</p>" * 50)
    assert [result.line for result in search(local, "quinces")] == [0]


@pytest.mark.parametrize(
    "query", ["", "...", '"', "NEAR(", "title:apples", "a AND", "*", "-x", "ap*", "\x00", "【】", "x" * 9999]
)
def test_no_query_is_a_syntax_error(local: Local, query: str) -> None:
    """What means something to SQLite is text here."""
    search(local, query)


def test_links_between_pages_can_be_opened(docs: Path) -> None:
    """Through the browser: search, open, follow."""
    browser = Browser(Local(docs, index=MEMORY))

    async def browse() -> str:
        await browser.call("search", '{"query": "round"}')
        await browser.call("open", '{"id": 0}')
        return await browser.call("open", '{"id": 0}')

    assert asyncio.run(browse()).startswith("[2] Apples (local:///apples.html)")


def test_a_page_can_be_named_by_its_path(local: Local) -> None:
    """With or without the scheme, quoted or not, with a place in it or not."""
    for url in (
        "local:///a%20note.txt",
        "local:///a note.txt",
        "a note.txt",
        "/a note.txt",
        "local:/a%20note.txt#x",
    ):
        assert fetch(local, url) == "Buy apples and pears.\n"


def test_a_folder_is_its_index(local: Local, docs: Path) -> None:
    """As a web server would have it; links are relative to where it lies."""
    (docs / "deep" / "index.html").write_text("<a href='er/plums.rst'>plums</a>")
    for url in ("local:///deep", "local:///deep/", "deep"):
        assert asyncio.run(local.fetch(url)).url == "local:///deep/index.html"
    (docs / "out").mkdir()
    (docs / "out" / "index.html").symlink_to(docs.parent / "secret.md")
    with pytest.raises(ToolError, match="There is no page"):
        fetch(local, "local:///out/")


@pytest.mark.parametrize(
    "url",
    [
        "local:///../secret.md",
        "local:///..",
        "local:///deep/../../secret.md",
        "local:///%2e%2e/secret.md",
        "local:///link.md",
        "local:///linked/secret.md",
        "local:///.hidden.md",
        "local:///.git/notes.md",
        "local:///image.png",
        "local:///disguised.md",
        "local:///deep",
        "local:///",
        "",
        "local:///missing.md",
        "local:///%00.md",
        "local:///pipe.md",
        "local:////etc/passwd",
        "local:///" + "x/" * 5000 + "y.md",
    ],
)
def test_nothing_outside_the_pages_is_read(local: Local, docs: Path, url: str) -> None:
    """No way up, no symbolic link that leads out, nothing hidden, no other kind, no pipe."""
    (docs / "link.md").symlink_to(docs.parent / "secret.md")
    (docs / "linked").symlink_to(docs.parent)
    (docs / "disguised.md").symlink_to("image.png")
    os.mkfifo(docs / "pipe.md")
    with pytest.raises(ToolError, match="There is no page"):
        fetch(local, url)
    assert "secret" not in " ".join(urls(local, "apples"))


@pytest.mark.parametrize(
    "url", ["https://example.com/a.md", "file:///etc/passwd", "local://host/a.md", "http://["]
)
def test_other_addresses_are_answered(local: Local, url: str) -> None:
    """The model is told what this browser reads."""
    with pytest.raises(ToolError, match=r"only reads the pages of a folder|There is no page"):
        fetch(local, url)


def test_a_link_inside_the_folder_is_followed(local: Local, docs: Path) -> None:
    """It is indexed once, under its own name."""
    (docs / "again.md").symlink_to(docs / "deep" / "pears.md")
    assert "# Pears" in fetch(local, "local:///again.md")
    assert urls(local, "cafe") == ["local:///deep/pears.md"]


def test_the_index_follows_the_folder(local: Local, docs: Path) -> None:
    """New, changed and removed files; a file that was only touched is not indexed again."""
    first = local.update()
    assert (first.added, first.changed, first.removed, first.unchanged, first.skipped) == (5, 0, 0, 0, ())
    (docs / "new.md").write_text("kiwis")
    (docs / "a note.txt").write_text("Buy nothing.")
    (docs / "apples.html").unlink()
    os.utime(docs / "deep" / "pears.md", (1, 1))
    second = local.update()
    assert (second.added, second.changed, second.removed, second.unchanged, second.pages) == (1, 1, 1, 3, 5)
    assert urls(local, "apples") == []
    assert urls(local, "kiwi") == ["local:///new.md"]
    assert urls(local, "nothing") == ["local:///a%20note.txt"]
    assert local.update().unchanged == 5


def test_the_index_is_kept(local: Local, docs: Path) -> None:
    """The next one to open it reads only what is new."""
    local.update()
    asyncio.run(local.aclose())
    (docs / "new.md").write_text("kiwis")
    again = Local(docs, index=local.index_file)
    assert urls(again, "kiwi") == ["local:///new.md"]
    assert again.update().unchanged == 6
    assert urls(local, "kiwi") == ["local:///new.md"]


def test_the_index_lies_in_the_cache(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file for each folder, which only its owner can reach."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one, other = Local(docs), Local(docs / "deep")
    assert one.update().pages == 5
    assert other.update().pages == 2
    assert one.index_file != other.index_file
    assert {one.index_file, other.index_file} == set((tmp_path / "cache").rglob("*.sqlite3"))
    assert one.index_file.parent.stat().st_mode & 0o077 == 0


def test_what_cannot_be_read_is_skipped_with_a_note(
    local: Local, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken or huge file takes nothing else with it, and is not tried again until it changes."""
    monkeypatch.setattr(folder_module, "LARGEST", 1000)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (docs / "huge.txt").write_text("x" * 1001)
    (docs / "bytes.txt").write_bytes(bytes(range(256)))
    for _ in range(2):
        update = local.update()
        notes = dict(update.skipped)
        assert update.pages == 6
        assert set(notes) == {"local:///broken.pdf", "local:///huge.txt"}
        assert "The PDF cannot be read" in notes["local:///broken.pdf"]
        assert "larger than" in notes["local:///huge.txt"]
    with pytest.raises(ToolError, match="larger than"):
        fetch(local, "local:///huge.txt")
    (docs / "huge.txt").write_text("grapes")
    assert local.update().added == 1
    assert urls(local, "grape") == ["local:///huge.txt"]


def test_names_of_any_bytes(local: Local, docs: Path) -> None:
    """A name that is not UTF-8 has an address too."""
    with open(os.fsencode(docs) + b"/caf\xe9 #1?.md", "w") as file:
        file.write("figs")
    (url,) = urls(local, "figs")
    assert url == "local:///caf%E9%20%231%3F.md"
    assert fetch(local, url) == "figs"


def test_a_file_that_is_no_index_is_left_alone(docs: Path, tmp_path: Path) -> None:
    """Neither a text nor a database of another program is overwritten."""
    text, database = tmp_path / "text", tmp_path / "other.sqlite3"
    text.write_text("precious" * 1000)
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE precious (a)")
    other.close()
    for file in (text, database, tmp_path):
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(ToolError, match="name another file"):
            Local(docs, index=file).update()
        assert (file.read_bytes() if file.is_file() else b"") == before


def test_an_index_of_another_version_is_made_anew(local: Local, docs: Path) -> None:
    """It is only a cache."""
    local.update()
    asyncio.run(local.aclose())
    with sqlite3.connect(local.index_file) as index:
        index.execute("PRAGMA user_version = 99")
    index.close()
    assert Local(docs, index=local.index_file).update().added == 5


def test_two_at_once_do_not_disturb_each_other(docs: Path, tmp_path: Path) -> None:
    """Both index the folder, and both find everything."""
    pair = [Local(docs, index=tmp_path / "index.sqlite3") for _ in range(2)]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda local=local: found.append(urls(local, "apples"))) for local in pair
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in found] == [2, 2]


def test_an_index_made_in_the_meantime_is_kept(
    local: Local, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saw an empty file looks again before the tables are made."""
    local.update()
    look, seen = Index._made_by, [(0, 0)]
    monkeypatch.setattr(Index, "_made_by", lambda index: seen.pop() if seen else look(index))
    assert Local(docs, index=local.index_file).update().unchanged == 5


def test_progress_is_told(docs: Path) -> None:
    """File by file, to the last."""
    told: list[tuple[int, int]] = []
    Local(docs, index=MEMORY, progress=lambda done, total: told.append((done, total))).update()
    assert told == [(number, 5) for number in range(1, 6)]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """At once, with what to name instead."""
    with pytest.raises(ToolError, match="there is no folder"):
        Browser(tmp_path / "nowhere")


def test_without_a_folder_there_is_our_documentation() -> None:
    """Which says how a parser of harmony treats malformed streams."""
    shown = asyncio.run(Browser().call("search", '{"query": "malformed stream"}'))
    assert "local" in shown
    assert "parsing" in shown.lower()
