"""Search services as back ends: one request asks for results, a `Fetcher` gets the pages themselves.

A key goes to its service alone, and redirects are not followed. What a service answers is as untrusted as any
page. Each class names the documentation that it was written from.
"""

import asyncio
import html
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import httpx
from pydantic import BaseModel, ValidationError

from harmony.errors import ToolError
from harmony.tools.browser.backend import Result
from harmony.tools.browser.document import Document
from harmony.tools.browser.fetcher import Fetcher

LARGEST = 4 * 2**20
SECONDS = 20.0

_REASONS = {
    401: ": it does not accept the key",
    402: ": the account has no credit left",
    403: ": it does not accept the key",
    429: ": it was asked too often, or the quota is used up",
}


class Hit(BaseModel):
    """What services say of a result; each says a part of it."""

    url: str
    title: str | None = None
    content: str | None = None
    description: str | None = None
    snippets: list[str] | None = None
    highlights: list[str] | None = None

    @property
    def snippet(self) -> str:
        """The longest that is said."""
        return " … ".join(self.highlights or self.snippets or []) or self.content or self.description or ""


def _address(url: str) -> str | None:
    """The address as it would be fetched; None for what is not on the web."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    return str(parsed) if parsed.scheme in ("http", "https") and parsed.host else None


class Service(ABC):
    """A search service at `url`; `fetcher` gets the pages, from the public internet by default."""

    name: ClassVar[str]

    def __init__(self, url: str, fetcher: Fetcher | None) -> None:
        self._url = url.rstrip("/")
        self._fetcher = fetcher or Fetcher()

    async def search(self, query: str, n: int) -> list[Result]:
        """The best `n` results or fewer, those on the web. Raises ToolError."""
        try:
            async with asyncio.timeout(SECONDS):
                hits = self._hits(await self._answer(self._request(query, n)))
        except TimeoutError as error:
            raise ToolError(f"{self.name} took longer than {SECONDS:g} seconds.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolError(f"{self.name} cannot be asked: {str(error) or type(error).__name__}") from error
        except ValidationError as error:
            raise ToolError(f"{self.name} answered something that is no list of results.") from error
        found = [(_address(hit.url), hit) for hit in hits]
        return [Result(url, hit.title or "", hit.snippet) for url, hit in found if url is not None][:n]

    async def fetch(self, url: str) -> Document:
        """The document at an address."""
        return await self._fetcher.fetch(url)

    async def aclose(self) -> None:  # noqa: B027 - nothing is held, and no subclass need say so
        """Nothing is held between requests."""

    @abstractmethod
    def _request(self, query: str, n: int) -> httpx.Request:
        """What is asked for `n` results."""

    def _hits(self, answer: bytes) -> list[Hit]:
        """The results in an answer. Raises ValidationError."""
        return _Results.model_validate_json(answer).results

    def _refusal(self, status: int) -> str:
        return f"{self.name} answered with status {status}{_REASONS.get(status, '')}."

    async def _answer(self, request: httpx.Request) -> bytes:
        request.headers.update({"Accept": "application/json", "User-Agent": "gpt-oss-harmony"})
        body = bytearray()
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            response = await client.send(request, stream=True)
            if not response.is_success:
                raise ToolError(self._refusal(response.status_code))
            async for data in response.aiter_bytes():
                body += data
                if len(body) > LARGEST:
                    raise ToolError(f"{self.name} answered more than {LARGEST >> 20} MiB.")
        return bytes(body)


class SearXNG(Service):
    """A SearXNG of your own, at `url` or else at SEARXNG_URL, with JSON among its formats.

    https://docs.searxng.org/dev/search_api.html
    """

    name = "SearXNG"

    def __init__(self, url: str | None = None, *, fetcher: Fetcher | None = None) -> None:
        url = url or os.environ.get("SEARXNG_URL")
        if not url:
            raise ToolError(
                "SearXNG needs an address: set SEARXNG_URL, to http://localhost:8080 for instance"
            )
        super().__init__(url, fetcher)

    def _request(self, query: str, n: int) -> httpx.Request:
        return httpx.Request("GET", f"{self._url}/search", params={"q": query, "format": "json"})

    def _refusal(self, status: int) -> str:
        if status == 403:
            return "SearXNG does not answer in JSON: add json to search.formats in its settings.yml."
        return super()._refusal(status)


class _KeyedService(Service):
    """A service that wants a key, read from the environment where it is not given.

    Raises ToolError when there is none.
    """

    address: ClassVar[str]
    variable: ClassVar[str]

    def __init__(
        self, key: str | None = None, *, url: str | None = None, fetcher: Fetcher | None = None
    ) -> None:
        key = key or os.environ.get(self.variable)
        if not key:
            raise ToolError(f"{self.name} needs a key: set {self.variable}")
        self._key = key
        super().__init__(url or self.address, fetcher)


class Exa(_KeyedService):
    """https://exa.ai/docs/reference/search"""

    name, address, variable = "Exa", "https://api.exa.ai", "EXA_API_KEY"

    def _request(self, query: str, n: int) -> httpx.Request:
        body = {"query": query, "numResults": n, "contents": {"highlights": True}}
        return httpx.Request("POST", f"{self._url}/search", json=body, headers={"x-api-key": self._key})


class You(_KeyedService):
    """https://you.com/docs/api-reference/search/v1-search"""

    name, address, variable = "You.com", "https://ydc-index.io", "YDC_API_KEY"

    def _request(self, query: str, n: int) -> httpx.Request:
        headers = {"X-API-Key": self._key}
        return httpx.Request(
            "GET", f"{self._url}/v1/search", params={"query": query, "count": n}, headers=headers
        )

    def _hits(self, answer: bytes) -> list[Hit]:
        return _Sections.model_validate_json(answer).results.web


class Tavily(_KeyedService):
    """https://docs.tavily.com/documentation/api-reference/endpoint/search"""

    name, address, variable = "Tavily", "https://api.tavily.com", "TAVILY_API_KEY"

    def _request(self, query: str, n: int) -> httpx.Request:
        body = {"query": query, "max_results": n}
        headers = {"Authorization": f"Bearer {self._key}"}
        return httpx.Request("POST", f"{self._url}/search", json=body, headers=headers)


class Brave(_KeyedService):
    """https://api-dashboard.search.brave.com/api-reference/web/search/get

    A query has at most 50 words and 400 characters; what is more is left out.
    """

    name, address, variable = "Brave", "https://api.search.brave.com", "BRAVE_API_KEY"

    def _request(self, query: str, n: int) -> httpx.Request:
        query = " ".join(query.split()[:50])[:400]
        return httpx.Request(
            "GET",
            f"{self._url}/res/v1/web/search",
            params={"q": query, "count": n, "text_decorations": "false"},
            headers={"X-Subscription-Token": self._key},
        )

    def _hits(self, answer: bytes) -> list[Hit]:
        hits = _WebSection.model_validate_json(answer).web.results
        return [hit.model_copy(update={"description": html.unescape(hit.snippet)}) for hit in hits]


class _Results(BaseModel):
    results: list[Hit]


class _WebHits(BaseModel):
    web: list[Hit] = []


class _Sections(BaseModel):
    results: _WebHits


class _WebSection(BaseModel):
    web: _Results = _Results(results=[])


_SERVICES: dict[str, Callable[[], Service]] = {
    "searxng": SearXNG,
    "exa": Exa,
    "you": You,
    "tavily": Tavily,
    "brave": Brave,
}


def service(name: str) -> Service:
    """The service of that name, with its key from the environment. Raises ToolError."""
    if name not in _SERVICES:
        raise ToolError(f"there is no search service {name!r}; choose from {', '.join(_SERVICES)}")
    return _SERVICES[name]()
