"""Fetching a page from the web under a policy: each hop is checked, and connected to the address checked.

A host is resolved once; every one of its addresses must be allowed, and the connection goes to one of them
with the host's name kept in the Host header and in TLS, so that a second answer of its DNS changes nothing.
Proxies of the environment are not used, since they would resolve the name again. No cookie is kept.
"""

import asyncio
import re
import ssl
import zlib
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address

import httpx

from harmony.errors import ToolError
from harmony.tools.browser.document import HTML, PDF, PLAIN, Document, is_readable
from harmony.tools.browser.guard import Policy, Resolver, resolve
from harmony.tools.browser.page import shown_url

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.-]{1,40})", re.IGNORECASE)
_HEADERS = {
    "User-Agent": "gpt-oss-harmony",
    "Accept": "text/html, application/xhtml+xml, application/pdf;q=0.9, text/*;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip",
}


class Fetcher:
    """Fetches documents by `http` and `https`.

    `headers` are sent to the one origin that they are given for, never to where it redirects:
    {"https://wiki.example": {"Authorization": "..."}}. `ssl_context` replaces the usual certificates.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        resolver: Resolver = resolve,
        headers: Mapping[str, Mapping[str, str]] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy or Policy()
        self._resolver = resolver
        self._headers = headers or {}
        self._given_context = ssl_context

    async def fetch(self, url: str) -> Document:
        """The document at an address, at the end of its redirects. Raises ToolError."""
        try:
            async with asyncio.timeout(self._policy.seconds):
                return await self._follow(httpx.URL(url if "://" in url else f"https://{url}"))
        except TimeoutError as error:
            raise ToolError(f"{shown_url(url)} took longer than {self._policy.seconds:g} seconds.") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise ToolError(f"{shown_url(url)} cannot be fetched: {reason}") from error

    async def _follow(self, url: httpx.URL) -> Document:
        for _ in range(self._policy.redirects + 1):
            response = await self._get(url)
            try:
                place = response.headers.get("location")
                if response.status_code not in _REDIRECTS or place is None:
                    return await self._document(url, response)
                url = url.join(place)
            finally:
                await response.aclose()
        raise ToolError(f"{shown_url(str(url))} is where more than {self._policy.redirects} redirects lead.")

    async def _get(self, url: httpx.URL) -> httpx.Response:
        """The answer of a host, its body not yet read."""
        host = url.raw_host.decode("ascii")
        if url.scheme not in ("http", "https") or not host:
            raise ToolError(f"Only http and https addresses can be opened, not {shown_url(str(url))}.")
        if url.userinfo:
            raise ToolError("An address with a user or a password in it is not opened.")
        request_headers = {
            **_HEADERS,
            **self._headers.get(f"{url.scheme}://{url.netloc.decode('ascii')}", {}),
        }
        request_headers["Host"] = url.netloc.decode("ascii")
        waits = dict.fromkeys(("connect", "read", "write", "pool"), self._policy.idle_seconds)
        refusal: Exception | None = None
        for address in await self._addresses(host, url.port or (443 if url.scheme == "https" else 80)):
            request = httpx.Request(
                "GET",
                url.copy_with(host=address, fragment=None),
                headers=request_headers,
                extensions={"sni_hostname": host, "timeout": waits},
            )
            try:
                return await self._transport().handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refusal = error
        raise refusal or ToolError(f"There is no host {host}.")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of them allowed."""
        try:
            found = [ip_address(address) for address in await self._resolver(host, port)]
        except OSError as error:
            raise ToolError(f"There is no host {host}.") from error
        if not all(map(self._policy.allows, found)):
            raise ToolError(f"{host} is not on the public internet, and is not opened.")
        return [str(address) for address in found]

    def _transport(self) -> httpx.AsyncHTTPTransport:
        """A new one for each request: no connection is used for two hosts, or from two event loops."""
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        return httpx.AsyncHTTPTransport(verify=self._context, trust_env=False, limits=limits)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._given_context or httpx.create_ssl_context(trust_env=False)

    async def _document(self, url: httpx.URL, response: httpx.Response) -> Document:
        if not response.is_success:
            raise ToolError(f"{shown_url(str(url))} answered with status {response.status_code}.")
        declared = response.headers.get("content-type", "")
        media_type = declared.partition(";")[0].strip().lower()
        if media_type and not is_readable(media_type):
            raise ToolError(f"{shown_url(str(url))} is {media_type[:60]}, which cannot be shown as text.")
        body = await self._body(url, response)
        charset = _CHARSET.search(declared)
        return Document(str(url), body, media_type or _guessed(body), charset[1] if charset else None)

    async def _body(self, url: httpx.URL, response: httpx.Response) -> bytes:
        """The body, decompressed while it comes and cut off as soon as it is too large."""
        largest = self._policy.largest
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise ToolError(
                f"{shown_url(str(url))} came in the encoding {encoding[:20]}, which was not asked for."
            )
        gzip = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
        received, body = 0, bytearray()
        async for data in response.aiter_raw():
            received += len(data)
            try:
                body += gzip.decompress(data, largest + 1 - len(body)) if gzip else data
            except zlib.error as error:
                raise ToolError(f"{shown_url(str(url))} is damaged: {error}.") from error
            if max(received, len(body)) > largest:
                raise ToolError(f"{shown_url(str(url))} is larger than {largest / 2**20:g} MiB.")
        if gzip and not gzip.eof:
            raise ToolError(f"{shown_url(str(url))} is damaged: it ends too early.")
        return bytes(body)


def _guessed(body: bytes) -> str:
    """The media type of a document that declares none."""
    if body.startswith(b"%PDF-"):
        return PDF
    return HTML if body.lstrip()[:1] == b"<" else PLAIN
