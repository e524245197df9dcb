"""Addresses of pages and links: `http`, `https`, and `local:///path` for files of the indexed folder."""

from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from harmony.tools.browser.text import one_line

_LONGEST_HOST = 253
_ARXIV = ("arxiv.org", "www.arxiv.org")


def joined(base: str, reference: str) -> str | None:
    """The absolute address of a link; None for what cannot be opened: mail, scripts, a place in the page."""
    reference = reference.strip()
    if not reference or reference.startswith("#"):
        return None
    local = base.startswith("local:")
    try:
        if reference.startswith(("http://", "https://")):
            url = reference
        else:
            url = urljoin(f"file:{base[6:]}" if local else base, reference)  # a path joins as a file's does
        parts = urlsplit(url)
    except ValueError:
        return None
    if local and parts.scheme == "file" and not parts.netloc:
        return f"local:{url[5:]}"
    if parts.scheme in ("http", "https") and parts.hostname:
        return readable(url)
    return url if parts.scheme == "local" else None


def split(url: str) -> SplitResult:
    """The parts of an address, all empty for what is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def domain(url: str) -> str:
    """The host of an address, clean, with its port if it names one; `local` for a file of the folder."""
    parts = split(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return "local" if parts.scheme == "local" else one_line(host)[:_LONGEST_HOST]


def name(url: str) -> str:
    """The last part of an address, clean; its domain where it has no path."""
    last = split(url).path.rstrip("/").rpartition("/")[2]
    return one_line(unquote(last)) or domain(url)


def readable(url: str) -> str:
    """The address at ar5iv.org of a paper at arxiv.org, as HTML instead of PDF; any other as it is."""
    parts = split(url)
    if parts.netloc.lower() not in _ARXIV:
        return url
    return parts._replace(netloc="ar5iv.org").geturl()
