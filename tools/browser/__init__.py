"""The browser tool, its back ends, and the guarded fetcher.

A name loads its module when it is first used. Raises ToolError where the extra `browser` is not installed.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from harmony.errors import ToolError
from harmony.lazy import from_homes

if TYPE_CHECKING:
    from harmony.tools.browser.backend import Backend, Result
    from harmony.tools.browser.document import Document
    from harmony.tools.browser.fetcher import Fetcher
    from harmony.tools.browser.guard import Policy
    from harmony.tools.browser.local import Local, bundled_docs
    from harmony.tools.browser.page import Page
    from harmony.tools.browser.progress import indexed
    from harmony.tools.browser.services import Brave, Exa, SearXNG, Service, Tavily, You, service
    from harmony.tools.browser.tool import Browser

__all__ = [
    "Backend",
    "Brave",
    "Browser",
    "Document",
    "Exa",
    "Fetcher",
    "Local",
    "Page",
    "Policy",
    "Result",
    "SearXNG",
    "Service",
    "Tavily",
    "You",
    "bundled_docs",
    "indexed",
    "service",
]

_HOMES = {
    "Backend": "backend",
    "Brave": "services",
    "Browser": "tool",
    "Document": "document",
    "Exa": "services",
    "Fetcher": "fetcher",
    "Local": "local",
    "Page": "page",
    "Policy": "guard",
    "Result": "backend",
    "SearXNG": "services",
    "Service": "services",
    "Tavily": "services",
    "You": "services",
    "bundled_docs": "local",
    "indexed": "progress",
    "service": "services",
}


_load = from_homes(__name__, _HOMES)


def __getattr__(name: str) -> object:
    missing = [needed for needed in ("lxml", "pypdf") if find_spec(needed) is None]
    if missing and name in _HOMES:
        raise ToolError(f"the browser needs {' and '.join(missing)}: pip install 'gpt-oss-harmony[browser]'")
    return _load(name)


def __dir__() -> list[str]:
    return sorted(__all__)
