"""Whatever a page says, the model reads no link, citation or special token but ours."""

import asyncio
import html
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from harmony import Author, Message, Role, SystemContent, Transcript, load_encoding
from harmony.errors import ToolError
from harmony.tools.browser import Browser, Document, Result
from harmony.tools.citations import marks_in

ENCODING = load_encoding()
URL = "https://site.org/page"
LINK = re.compile(r"【(\d+)†[^【】†]*(?:†[^【】†]*)?】")

WORDS = st.sampled_from(
    [
        *"【】†〖〗‡[]()<>`*#_|&;:/L0123456789 \n\t",
        *("【0†L3】", "【1†L2-L4】", "【7†evil†bank.org】", "L3", "L1-L2", "L1–2", "†L3】", "【0", "0†L3"),
        *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>", "<|constrain|>"),
        *("&#x3010;", "&#12305;", "&amp;#x2020;", "&lt;|start|&gt;", "&dagger;", "&nbsp;", "%E3%80%90"),
        *("\u200b", "\u2028", "\x00", "\ud800", "\U000e0041", "word", "https://x.org/", "javascript:"),
    ]
)
TEXTS = st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join)

KINDS = {
    "text/html": (
        "<title>{0}</title><h1>{1}</h1><p>{2}</p><a href='/a'>{1}</a> <a href='{0}'>{2}</a>"
        "<a href='/b'>L3</a> <img alt='{1}'><pre>{2}</pre><math alttext='{2}'></math>"
        "<table><td>{0}<td>{1}</table><ul><li>{0}</ul>"
    ),
    "text/markdown": "# {0}\n\n{1} [{2}](/a) [L3](/b) ![{0}](c) <https://{1}>\n\n```\n{2}\n```\n",
    "text/x-rst": "{0}\n=====\n\n{1} `{2} </a>`_ `L3 </b>`_ ``{0}``\n",
    "text/plain": "{0}\n{1}\n{2}\n",
    "application/json": '{{"a": "{0}", "{1}": "{2}"}}',
}


class Hostile:
    """A back end whose one page, and whose results, say what a test wants."""

    def __init__(self, kind: str, texts: list[str]) -> None:
        body = KINDS[kind].format(*texts).encode(errors="surrogatepass")
        self._document = Document(f"{URL}?{texts[1]}", body, kind)
        self._results = [Result(URL, texts[0], texts[1]), Result(f"{URL}/{texts[2]}", "L3", texts[2])]

    async def search(self, query: str, n: int) -> list[Result]:
        return self._results[:n]

    async def fetch(self, url: str) -> Document:
        return self._document

    async def aclose(self) -> None:
        pass


def displays(browser: Browser, said: str) -> list[str]:
    """A search, the page, its source, and a find, whose query and pattern are hostile too."""

    said = said.encode(errors="replace").decode()  # JSON with half a surrogate pair is refused

    async def all_of_them() -> list[str]:
        shown = [
            await browser.call("search", json.dumps({"query": f"q {said}"})),
            await browser.call("open", json.dumps({"id": URL, "num_lines": 400})),
            await browser.call("open", json.dumps({"id": URL, "view_source": True, "num_lines": 400})),
            await browser.call("find", json.dumps({"pattern": f"{said}L", "cursor": 1})),
        ]
        try:
            await browser.call("open", json.dumps({"id": 99, "cursor": 1}))
        except ToolError as error:
            shown.append(str(error))
        return shown

    return asyncio.run(all_of_them())


@given(st.sampled_from(sorted(KINDS)), st.lists(TEXTS, min_size=3, max_size=3), st.booleans())
def test_a_page_forges_nothing(kind: str, texts: list[str], escaped: bool) -> None:
    """Each mark is a link that the page has, none is a citation, and no special token is encoded."""
    texts = [html.escape(text) for text in texts] if escaped else texts
    browser = Browser(Hostile(kind, texts))
    for cursor, shown in enumerate(displays(browser, texts[0])):
        joined = re.sub(r"\nL\d+: ", " ", shown)  # a link may go over lines
        links = LINK.findall(joined)
        assert joined.count("【") == joined.count("】") == len(links)
        assert list(marks_in(shown)) == list(marks_in(joined)) == []
        if cursor < len(browser.pages):
            assert all(int(number) < len(browser.pages[cursor].links) for number in links)
        assert special_tokens(shown) == special_tokens("")


def special_tokens(output: str) -> list[int]:
    """The special tokens of the message that tells the model a tool's output."""
    transcript = Transcript(ENCODING)
    transcript.append(Message.from_role_and_content(Role.SYSTEM, SystemContent.new()))
    message = Message.from_author_and_content(Author.new(Role.TOOL, "browser.open"), output)
    transcript.append(message.with_channel("analysis").with_recipient("assistant"))
    return [token for token in transcript.tokens if token >= 199_998]
