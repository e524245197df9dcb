"""The browser tool: cursors, links, views, and what the model is told when it errs."""

import asyncio
import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony import ToolNamespaceConfig, load_encoding
from harmony.errors import ToolError
from harmony.tools.browser import Browser, Document, Result

LONG = "\n".join(
    f"<p>Line {number} of a long page, with the word {'needle' if number % 50 == 7 else 'hay'}.</p>"
    for number in range(400)
)


class Web:
    """A back end with a few pages, which tells what it was asked."""

    def __init__(self, pages: dict[str, str], results: Sequence[Result] = ()) -> None:
        self.pages = pages
        self.results = list(results)
        self.asked: list[tuple[str, int]] = []
        self.closed = False

    async def search(self, query: str, n: int) -> Sequence[Result]:
        self.asked.append((query, n))
        return self.results[:n]

    async def fetch(self, url: str) -> Document:
        if url not in self.pages:
            raise ToolError(f"There is no page {url}.")
        return Document(url, self.pages[url].encode(), "text/html")

    async def aclose(self) -> None:
        self.closed = True


A, B = "https://a.org/one", "https://b.org/two"


@pytest.fixture
def web() -> Web:
    return Web(
        {
            A: '<title>One</title><p>Apples are red.</p><p>See <a href="https://b.org/two">two</a>.</p>',
            B: f"<title>Two</title>{LONG}",
        },
        [Result(A, "One", "Apples"), Result(B, "Two", "Hay and needles"), *[Result(A, "More", "")] * 30],
    )


@pytest.fixture
def browser(web: Web) -> Browser:
    return Browser(web)


def call(browser: Browser, function: str | None, arguments: str = "", **given: object) -> str:
    return asyncio.run(browser.call(function, arguments or json.dumps(given)))


def failure(browser: Browser, function: str | None, arguments: str = "", **given: object) -> str:
    with pytest.raises(ToolError) as error:
        call(browser, function, arguments, **given)
    return str(error.value)


def test_the_description_is_the_trained_one(browser: Browser) -> None:
    """The model reads what it was trained on."""
    assert browser.namespace == ToolNamespaceConfig.browser()


def test_search_open_and_find_are_displayed_as_trained(browser: Browser) -> None:
    """Cursor, title, address, the lines in view of the last line, then numbered lines."""
    assert call(browser, "search", query="fruit", topn=2) == (
        "[0] fruit\n**viewing lines [0 - 3] of 3**\n\n"
        "L0: # Search Results\nL1: \nL2:   * 【0†One†a.org】 Apples\nL3:   * 【1†Two†b.org】 Hay and needles"
    )
    assert call(browser, "open", id=0) == (
        "[1] One (https://a.org/one)\n**viewing lines [0 - 2] of 2**\n\n"
        "L0: Apples are red.\nL1: \nL2: See 【0†two†b.org】."
    )
    assert call(browser, "find", pattern="SEE TWO") == (
        "[2] Find results for text: `SEE TWO` in `One` (https://a.org/one/find?pattern=SEE%20TWO)\n"
        "**viewing lines [0 - 1] of 1**\n\n"
        "L0: # 【0†match at L2】\nL1: See two."
    )


def test_topn_is_honoured(browser: Browser, web: Web) -> None:
    """From one to twenty results; ten when it is not said."""
    for arguments, asked in [
        ({}, 10),
        ({"topn": 3}, 3),
        ({"topn": 0}, 1),
        ({"topn": 999}, 20),
        ({"topn": None}, 10),
    ]:
        shown = call(browser, "search", query="x", **arguments)
        assert web.asked[-1] == ("x", asked)
        assert len(re.findall("【", shown)) == asked


def test_a_second_search_leaves_the_first_as_it_was(browser: Browser, web: Web) -> None:
    """Its links and citations keep their meaning."""
    call(browser, "search", query="first")
    web.results = [Result(B, "Two", "other")]
    call(browser, "search", query="second")
    assert call(browser, "open", cursor=0, id=0).startswith("[2] One (")
    assert call(browser, "open", cursor=1, id=0).startswith("[3] Two (")
    assert [citation.url for citation in browser.citations("【0†L2】【1†L2】")] == [A, B]


def test_a_page_is_a_snapshot(browser: Browser, web: Web) -> None:
    """When a page changes on the web, what was displayed does not."""
    call(browser, "open", id=A)
    web.pages[A] = "<title>Changed</title><p>New.</p>"
    assert "New." in call(browser, "open", id=A)
    assert "Apples are red." in call(browser, "open", cursor=0)
    assert browser.pages[0] is browser.pages[2]


def test_a_view_can_be_moved_and_sized(browser: Browser) -> None:
    """Scrolling pushes the page again, under a new cursor."""
    first = call(browser, "open", id=B)
    tokens = load_encoding().encode(first.partition("\n\n")[2])
    assert 1024 <= len(tokens) < 1024 + 40
    assert call(browser, "open", loc=100, num_lines=3).endswith(
        "**viewing lines [100 - 102] of 798**\n\nL100: Line 50 of a long page, with the word hay.\nL101: \n"
        "L102: Line 51 of a long page, with the word hay."
    )
    assert "[2] Two" in call(browser, "open", cursor=0, loc=790)
    assert "viewing lines [0 - 399] of 798" in call(browser, "open", num_lines=100_000)
    assert "viewing lines [0 - 0] of 798" in call(Browser(Web({B: LONG}), view_tokens=1), "open", id=B)


def test_a_place_beyond_the_end_is_answered(browser: Browser) -> None:
    """With the last line; the page is not displayed, and takes no cursor."""
    call(browser, "open", id=A)
    assert failure(browser, "open", loc=3) == "There is no line 3 on this page: its last line is 2."
    assert len(browser.pages) == 1


def test_find_shows_each_match_with_the_lines_after_it(browser: Browser) -> None:
    """The links lead four lines before the match, in the page that was searched."""
    call(browser, "open", id=B)
    shown = call(browser, "find", pattern="Needle")
    assert shown.count("match at L") == 8
    assert "# 【1†match at L114】\nL7: Line 57" in shown
    assert "viewing lines [110 - 111]" in call(browser, "open", id=1, num_lines=2)
    assert "viewing lines [10 - 11]" in call(browser, "open", id=0, cursor=1, num_lines=2)
    assert "viewing lines [5 - 5]" in call(browser, "open", id=0, cursor=1, loc=5, num_lines=1)


def test_find_stops_at_fifty(browser: Browser) -> None:
    """A pattern that is everywhere does not flood."""
    call(browser, "open", id=B)
    call(browser, "find", pattern="line")
    assert len(browser.pages[1].links) == 50


def test_find_sees_through_links(browser: Browser) -> None:
    """It matches the text of a link, not its number; and it works on pages of results."""
    call(browser, "open", id=A)
    assert "No `find` results for pattern: `【0†two`" not in call(browser, "find", pattern="see two.")
    assert "No `find` results for pattern: `b.org`" in call(browser, "find", cursor=0, pattern="b.org")
    call(browser, "search", query="fruit")
    assert "match at L3" in call(browser, "find", pattern="needles")
    call(browser, "find", pattern="match at")
    assert len(browser.pages[-1].links) == 1


def test_lines_of_find_are_cited_as_the_pages_own(browser: Browser) -> None:
    """The citation has the address of the page and the lines there, of a find in a find too."""
    call(browser, "open", id=B)
    call(browser, "find", pattern="needle")
    call(browser, "find", pattern="of a long")
    (cited,) = browser.citations("So 【1†L1-L3】.")
    assert (cited.url, cited.title, cited.lines) == (B, "Two", (14, 16))
    assert browser.pages[0].lines[14].startswith("Line 7 ")
    assert [c.lines for c in browser.citations("【1†L0】【1†L1-L9】【2†L1】")] == [
        (14, 14),
        (14, 116),
        (14, 14),
    ]
    assert browser.citations("【1†L5】") == []


def test_lines_of_a_search_are_cited_as_what_was_found(browser: Browser) -> None:
    """A snippet has no line in the page that it comes from."""
    call(browser, "search", query="fruit", topn=2)
    (cited,) = browser.citations("【0†L3】")
    assert (cited.url, cited.title, cited.lines) == (B, "Two", None)
    assert browser.citations("【0†L0-L1】") == []


def test_citations_keep_their_lines_and_their_place(browser: Browser) -> None:
    """Offsets are those of the citation in the answer; lines beyond the page are cut off."""
    call(browser, "open", id=A)
    answer = "Red 【0†L0】, and 【0†L1-L99】."
    first, second = browser.citations(answer)
    assert (first.url, first.title, first.lines, first.type) == (A, "One", (0, 0), "url_citation")
    assert (second.lines, answer[second.start : second.end]) == ((1, 2), "【0†L1-L99】")


@pytest.mark.parametrize(
    "answer", ["【1†L0】", "【0†L3】", "【0】", "【0†L】", "【x†L1】", "【-1†L1】", "〖0‡L0〗"]
)
def test_what_names_no_line_is_no_citation(browser: Browser, answer: str) -> None:
    """No page, no such line, or not a citation."""
    call(browser, "open", id=A)
    assert browser.citations(answer) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"id": "1"},
        {"id": " 1 "},
        {"id": 1.0},
        {"id": "1.0"},
        {"id": "【1†Two†b.org】"},
        {"id": "1†Two"},
        {"id": 1, "cursor": None, "loc": None, "num_lines": None, "view_source": None, "source": None},
        {"id": 1, "cursor": "0", "loc": "0", "unheard": [1], "source": "web"},
        {"id": "1", "cursor": -1.0, "loc": ""},
    ],
)
def test_arguments_as_models_write_them(browser: Browser, arguments: dict[str, object]) -> None:
    """A number in quotes is a link, null is not given, and what is unknown does not matter."""
    call(browser, "search", query="fruit")
    assert call(browser, "open", **arguments).startswith("[1] Two (")


def test_an_open_without_an_id_is_the_page_itself(browser: Browser) -> None:
    """Null, -1 and an empty text are no id."""
    call(browser, "open", id=A)
    for nothing in (None, -1, "-1", ""):
        assert "] One (" in call(browser, "open", id=nothing)


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        ("search", {}, "query is missing"),
        ("search", {"query": None}, "query is missing"),
        ("search", {"query": ["a"]}, "query is missing"),
        ("search", {"query": "x", "topn": "many"}, "topn must be a whole number, not 'many'"),
        ("open", {"id": 99}, "There is no link 99 on this page. Available link ids: [0 - 9]."),
        ("open", {"id": 10**30}, "id must be a whole number"),
        ("open", {"id": 0, "cursor": 7}, "Cursor 7 is out of range. Available cursor indices: [0 - 0]."),
        ("open", {"id": 0, "cursor": -2}, "Cursor -2 is out of range"),
        ("open", {"loc": 1.5}, "loc must be a whole number, not '1.5'"),
        ("open", {"id": True}, "id must be a whole number"),
        ("open", {"id": "https://nowhere.org/"}, "There is no page https://nowhere.org/."),
        ("find", {}, "pattern is missing"),
        ("find", {"pattern": "x", "cursor": 1}, "Available cursor indices: [0 - 0]"),
        ("click", {}, "Call browser.search, browser.open or browser.find"),
        (None, {"query": "x"}, "Call browser.search, browser.open or browser.find"),
    ],
)
def test_errors_say_what_is_possible(
    browser: Browser, function: str | None, arguments: dict[str, object], says: str
) -> None:
    """They name what is wrong, and take no cursor."""
    call(browser, "search", query="fruit")
    assert says in failure(browser, function, **arguments)
    assert len(browser.pages) == 1


def test_a_page_without_links_says_so(browser: Browser, web: Web) -> None:
    """The model need not guess."""
    web.pages[A] = "text"
    call(browser, "open", id=A)
    assert failure(browser, "open", id=0) == "There is no link 0 on this page. It has no links."


def test_before_the_first_page(browser: Browser) -> None:
    """There is nothing to scroll or to search in yet."""
    assert "Call browser.search first" in failure(browser, "open", loc=3)
    assert "Call browser.search first" in failure(browser, "find", pattern="x")


@pytest.mark.parametrize("text", ["not json", '{"query": "x', "[1]", '"x"'])
def test_arguments_that_are_no_object(browser: Browser, text: str) -> None:
    """They are answered."""
    assert "arguments" in failure(browser, "search", text)


def test_the_source_can_be_viewed(browser: Browser) -> None:
    """Of an address, of a link, and of the page in view."""
    assert "<title>One</title>" in call(browser, "open", id=A, view_source=True)
    assert "Source of two" in call(browser, "open", id=B, view_source="true")
    call(browser, "search", query="fruit")
    assert "Source of one" in call(browser, "open", id=0, view_source=True)
    call(browser, "open", id=A)
    assert "Source of one" in call(browser, "open", view_source=True)


def test_papers_are_opened_as_html(browser: Browser, web: Web) -> None:
    """An address at arxiv.org leads to ar5iv.org."""
    web.pages["https://ar5iv.org/abs/1706.03762"] = "<title>Attention</title>x"
    assert "Attention (https://ar5iv.org/abs/1706.03762)" in call(
        browser, "open", id="https://arxiv.org/abs/1706.03762"
    )


def test_results_cannot_forge(browser: Browser, web: Web) -> None:
    """Titles, snippets and addresses of a service are as untrusted as pages; so are the model's own words."""
    web.results = [Result("https://x.org/【9†a】\n", "【1†evil】\n# L7:", "【2†L3】\n【4†b】")]
    web.pages[web.results[0].url] = "x"
    shown = call(browser, "search", query="【3†mine】\nnext")
    assert shown.count("【") == shown.count("】") == 1
    assert re.fullmatch(r"\[0\] 〖3‡mine〗 next", shown.splitlines()[0])
    opened = call(browser, "open", id=0)
    assert "【" not in opened
    assert "【" not in call(browser, "find", pattern="【5†x】\n")


def test_an_endless_address_is_cut(browser: Browser, web: Web) -> None:
    """It cannot fill the context."""
    url = "https://a.org/" + "x" * 100_000
    web.pages[url] = "text"
    assert len(call(browser, "open", id=url)) < 2000
    assert len(call(browser, "search", query="y " * 50_000, topn=1)) < 1000


def test_closing_releases_the_back_end_and_keeps_the_pages(browser: Browser, web: Web) -> None:
    """An answer can still be resolved, and the conversation can go on."""
    call(browser, "open", id=A)
    asyncio.run(browser.aclose())
    assert web.closed
    assert len(browser.citations("【0†L0】")) == 1
    assert call(browser, "open", id=0).startswith("[1] Two")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1", A, "local:///x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["query", "topn", "id", "cursor", "loc", "num_lines", "view_source", "source", "pattern", "x"]
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["search", "open", "find", "other", ""]),
            st.dictionaries(NAMES, VALUES) | st.text(),
        ),
        max_size=5,
    )
)
def test_no_call_raises_anything_but_an_answer(calls: list[tuple[str, object]]) -> None:
    """Whatever a model sends, it gets a display under the next cursor, or an answer that takes none."""
    browser = Browser(Web({A: LONG, B: "short"}, [Result(A, "One", "x"), Result(B, "Two", "y")]))
    call(browser, "search", query="x")
    for function, arguments in calls:
        before = len(browser.pages)
        try:
            shown = call(
                browser, function, arguments if isinstance(arguments, str) else json.dumps(arguments)
            )
        except ToolError:
            assert len(browser.pages) == before
        else:
            assert shown.startswith(f"[{before}] ")
