"""Where pages come from, as the browser sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harmony.tools.browser.document import Document


@dataclass(frozen=True)
class Result:
    """One thing that a search found, and the line of the page to open it at, if that is known.

    Title and snippet are as untrusted as any page.
    """

    url: str
    title: str
    snippet: str
    line: int = 0


class Backend(Protocol):
    """A place to search and to fetch from. Both raise ToolError, with a text for the model."""

    async def search(self, query: str, n: int) -> Sequence[Result]:
        """The best `n` results or fewer, best first."""

    async def fetch(self, url: str) -> Document:
        """The document at an address that a link, a result or the model named."""

    async def aclose(self) -> None:
        """Release connections and files; a later call opens them again."""
