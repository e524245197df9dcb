"""The browser tool: search, open and find, and the pages that they have displayed.

Names, arguments, layout and citations are those that gpt-oss was trained with (`harmony.namespaces`). A
cursor is the index of a page in the order of display; what it stands for never changes, so that a citation
means what the model saw.
"""

import asyncio
import os
from copy import copy

from harmony import Message, Role, ToolNamespaceConfig
from harmony.errors import ToolError
from harmony.tools.browser.addresses import readable
from harmony.tools.browser.arguments import Arguments
from harmony.tools.browser.backend import Backend
from harmony.tools.browser.document import read
from harmony.tools.browser.local import Local, bundled_docs
from harmony.tools.browser.page import FORGOTTEN, Link, Page, cursor_of
from harmony.tools.browser.results import find_page, search_page
from harmony.tools.browser.text import WIDTH, view_end
from harmony.tools.citations import Citation, marks_in

VIEW_TOKENS = 1024
VIEWS = 8
MOST_LINES = 400
MOST_RESULTS = 20
_BEFORE_MATCH = 4
_MOST_PASSED_OVER = 10_000


class Browser:
    """The `browser` tool that gpt-oss was trained with, over a folder of documents or a search service.

    `pages` is a folder, a back end such as `Brave()`, or None for the documentation of this package. A view
    is `view_tokens` of numbered text, up to a whole line: 1,024 where it is not given, or an eighth of the
    model's context if that is less. The model can ask for up to 400 lines. Pages stay for the lifetime of
    the browser, so a conversation should keep to one. Raises ToolError when there is no such folder.

        browser = Browser("docs/")
        await browser.call("search", '{"query": "parsing"}')
        await browser.call("open", '{"id": 0}')
    """

    def __init__(
        self, pages: Backend | str | os.PathLike[str] | None = None, *, view_tokens: int | None = None
    ) -> None:
        if pages is None:
            self._backend: Backend = bundled_docs()
        else:
            self._backend = Local(pages) if isinstance(pages, str | os.PathLike) else pages
        self._fits = view_tokens is None
        self._view_tokens = view_tokens or VIEW_TOKENS
        self._pages: list[Page] = []
        self._owns_backend = True

    @property
    def namespace(self) -> ToolNamespaceConfig:
        """The description the model was trained on."""
        return ToolNamespaceConfig.browser()

    @property
    def pages(self) -> tuple[Page, ...]:
        """What was displayed, by cursor."""
        return tuple(self._pages)

    async def call(self, function: str | None, arguments: str) -> str:
        """Search, open or find; `arguments` is a JSON object. Raises ToolError with a text for the model."""
        functions = {"search": self._search, "open": self._open, "find": self._find}
        if function not in functions:
            called = "browser" if function is None else f"browser.{function}"
            raise ToolError(f"{called} is not a function. Call browser.search, browser.open or browser.find.")
        return await functions[function](Arguments(arguments))

    def fit(self, context_length: int) -> None:
        """Let several views fit a model's context, unless their size was given."""
        if self._fits:
            self._view_tokens = min(VIEW_TOKENS, context_length // VIEWS)

    def citations(self, answer: str) -> list[Citation]:
        """The citations in an answer that name lines of a page that was displayed."""
        found = []
        for mark in marks_in(answer):
            cited = (
                self._pages[mark.cursor].cited(mark.first, mark.last)
                if mark.cursor < len(self._pages)
                else None
            )
            if cited is not None:
                found.append(Citation(mark.start, mark.end, cited.url, cited.title, cited.lines))
        return found

    def action(self, function: str | None, arguments: str) -> dict[str, str] | None:
        """What a call would look up: `search`, `open_page` or `find_in_page`; None if it cannot be told."""
        try:
            given = Arguments(arguments)
            match function:
                case "search":
                    return {"type": "search", "query": given.text("query")}
                case "open":
                    return {"type": "open_page", "url": self._asked(given).url}
                case "find":
                    pattern, page = given.text("pattern"), self._page(given.number("cursor", -1))
                    return {"type": "find_in_page", "pattern": pattern, "url": page.url}
        except ToolError:
            pass
        return None

    def pass_over(self, message: Message) -> None:
        """Display no page under a cursor that a message displays or cites and that has none: it is gone."""
        cursors: list[int | None] = []
        if message.author.role == Role.ASSISTANT:
            cursors += [mark.cursor for mark in marks_in(message.text)]
        elif (message.author.name or "").startswith("browser."):
            cursors.append(cursor_of(message.text))
        last = max((c for c in cursors if c is not None and c < _MOST_PASSED_OVER), default=-1)
        self._pages += [FORGOTTEN] * (last + 1 - len(self._pages))

    def copy(self) -> "Browser":
        """Another browser that has displayed the same; closing it leaves the back end to this one."""
        other = copy(self)
        other._pages = self._pages.copy()
        other._owns_backend = False
        return other

    @property
    def size(self) -> int:
        """How many characters the pages have, at most."""
        lines = {id(page): len(page.lines) for page in self._pages}
        return WIDTH * sum(lines.values())

    async def aclose(self) -> None:
        """Release what the back end holds; the pages stay, since answers cite them."""
        if self._owns_backend:
            await self._backend.aclose()

    async def _search(self, arguments: Arguments) -> str:
        query = arguments.text("query")
        n = max(1, min(arguments.number("topn", 10), MOST_RESULTS))
        results = await self._backend.search(query, n)
        return self._show(search_page(query, results[:n]))

    async def _open(self, arguments: Arguments) -> str:
        link = self._asked(arguments)
        if arguments.flag("view_source"):
            page = await self._fetch(link.url, source=True)
        else:
            page = link.target if isinstance(link.target, Page) else await self._fetch(link.target)
        loc = arguments.number("loc", -1)
        first = loc if loc >= 0 else max(0, link.line - _BEFORE_MATCH)
        return self._show(page, first, arguments.number("num_lines", -1))

    async def _find(self, arguments: Arguments) -> str:
        page = self._page(arguments.number("cursor", -1))
        return self._show(find_page(page, arguments.text("pattern")))

    def _asked(self, arguments: Arguments) -> Link:
        """What a call to open is about: an address, a link of a page, or the page itself."""
        asked = arguments.link_or_url()
        cursor = arguments.number("cursor", -1)
        return Link(asked) if isinstance(asked, str) else self._link(self._page(cursor), asked)

    async def _fetch(self, url: str, *, source: bool = False) -> Page:
        document = await self._backend.fetch(readable(url))
        return await asyncio.to_thread(read, document, source=source)

    def _page(self, cursor: int) -> Page:
        last = len(self._pages) - 1
        if last < 0:
            raise ToolError(
                "There is no page yet. Call browser.search first, or browser.open with an address."
            )
        if not -1 <= cursor <= last:
            raise ToolError(f"Cursor {cursor} is out of range. Available cursor indices: [0 - {last}].")
        return self._pages[cursor]

    def _link(self, page: Page, number: int) -> Link:
        """The link of that number; of none, the page itself."""
        if number < 0:
            return Link(page)
        if number < len(page.links):
            return page.links[number]
        there = f"Available link ids: [0 - {len(page.links) - 1}]" if page.links else "It has no links"
        raise ToolError(f"There is no link {number} on this page. {there}.")

    def _show(self, page: Page, first: int = 0, lines: int = -1) -> str:
        """Display a page from a line on, under a new cursor."""
        total = len(page.lines)
        if first >= total:
            raise ToolError(f"There is no line {first} on this page: its last line is {total - 1}.")
        if lines > 0:
            end = min(first + min(lines, MOST_LINES), total)
        else:
            end = view_end(page.lines, first, self._view_tokens)
        self._pages.append(page)
        return page.display(len(self._pages) - 1, first, end)
