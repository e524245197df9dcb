"""The guarded fetcher against a server that means harm."""

import asyncio
import gzip
import ssl
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from raw_server import CERTIFICATE, RawServer, answer, redirect, serve_raw

from harmony.errors import ToolError
from harmony.tools.browser import Document, Fetcher, Policy
from harmony.tools.browser.guard import Resolver

HERE = Policy(also=(ip_network("127.0.0.1/32"),), largest=100_000, seconds=30.0, idle_seconds=20.0)
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def server() -> Iterator[RawServer]:
    with serve_raw({"/": answer(b"<p>Hello</p>", content_type="text/html; charset=UTF-8")}) as server:
        yield server


def fetch(fetcher: Fetcher, url: str) -> Document:
    return asyncio.run(fetcher.fetch(url))


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ToolError) as error:
        fetch(fetcher, url)
    return str(error.value)


def names(**hosts: str | list[list[str]]) -> Resolver:
    """A resolver; a list has the answers one after the other."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        found = hosts.get(host.partition(".")[0], [])
        if isinstance(found, str):
            return found.split()
        if not found:
            raise OSError("unknown")
        return found.pop(0)

    return resolve


def test_a_page_is_fetched(server: RawServer) -> None:
    """With its type, its charset, and nothing said of who asks."""
    document = fetch(Fetcher(HERE), f"{server.url}/")
    assert document == Document(f"{server.url}/", b"<p>Hello</p>", "text/html", "UTF-8")
    headers = server.headers()
    assert (headers["host"], headers["accept-encoding"]) == (f"127.0.0.1:{server.port}", "gzip")
    assert not {"cookie", "referer", "authorization"} & headers.keys()


def test_the_name_is_kept_and_the_address_pinned(server: RawServer) -> None:
    """The host is resolved once for each hop, and the connection goes to what was checked."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    document = fetch(Fetcher(HERE, resolver=names(site=answers)), f"http://site.test:{server.port}/#part")
    assert document.url == f"http://site.test:{server.port}/#part"
    assert server.headers()["host"] == f"site.test:{server.port}"
    assert server.heads[0].startswith("GET / HTTP/1.1")
    assert answers == [["10.0.0.1"]]


def test_a_name_that_changes_its_mind_is_checked_again(server: RawServer) -> None:
    """A redirect to the same name is a new hop."""
    server.answers["/away"] = redirect("/")
    resolver = names(site=[["127.0.0.1"], ["10.0.0.1"]])
    assert "site.test is not on the public internet" in refusal(
        Fetcher(HERE, resolver=resolver), f"http://site.test:{server.port}/away"
    )
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "addresses", ["127.0.0.1 10.0.0.1", "10.0.0.1 127.0.0.1", "127.0.0.1 ::1", "127.0.0.1 fe80::1"]
)
def test_every_address_must_be_allowed(server: RawServer, addresses: str) -> None:
    """One bad one among them is enough."""
    fetcher = Fetcher(HERE, resolver=names(site=addresses))
    assert "not on the public internet" in refusal(fetcher, f"http://site.test:{server.port}/")
    assert server.heads == []


def test_a_dead_address_is_followed_by_the_next(server: RawServer) -> None:
    """As browsers do."""
    policy = replace(HERE, also=(ip_network("127.0.0.0/8"),))
    fetcher = Fetcher(policy, resolver=names(site="127.0.0.77 127.0.0.1"))
    assert fetch(fetcher, f"http://site.test:{server.port}/").body == b"<p>Hello</p>"
    assert "cannot be fetched" in refusal(
        Fetcher(policy, resolver=names(site="127.0.0.77")), "http://site.test:9/"
    )


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"]
)
def test_by_default_this_machine_is_out_of_reach(server: RawServer, host: str) -> None:
    """However it is spelled."""
    message = refusal(Fetcher(), f"http://{host}:{server.port}/")
    assert "not on the public internet" in message or "no host" in message
    assert server.heads == []


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2/",
        "http://10.0.0.1/",
        "//192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::7f00:2]/",
        "http://metadata.internal/",
        "https://[fd00:ec2::254]/",
    ],
)
def test_redirects_to_what_is_not_public_are_refused(server: RawServer, place: str) -> None:
    """Each hop is checked like the first."""
    server.answers["/away"] = redirect(place)
    fetcher = Fetcher(HERE, resolver=_system_or(names(metadata="169.254.169.254")))
    assert "not on the public internet" in refusal(fetcher, f"{server.url}/away")
    assert len(server.heads) == 1


def _system_or(named: Resolver) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return await named(host, port) if host.endswith(".internal") else [host]

    return resolve


def test_metadata_is_refused_under_any_policy(server: RawServer) -> None:
    """Even when everything else is allowed."""
    server.answers["/away"] = redirect("http://169.254.169.254/latest/")
    everything = replace(HERE, also=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert "not on the public internet" in refusal(Fetcher(everything), f"{server.url}/away")


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "data:text/html,x"]
)
def test_redirects_to_other_schemes_are_refused(server: RawServer, place: str) -> None:
    """Only http and https are spoken."""
    server.answers["/away"] = redirect(place)
    assert "Only http and https" in refusal(Fetcher(HERE), f"{server.url}/away")


@pytest.mark.parametrize(
    "url", ["", "https://", "http://[", "http://u:p@127.0.0.1/", "http://a b/", "http://\x00/", "//"]
)
def test_what_is_no_address_is_answered(url: str) -> None:
    """With a text for the model."""
    assert refusal(Fetcher(HERE, resolver=names()), url)


def test_ten_redirects_are_followed(server: RawServer) -> None:
    """An eleventh is not, and so no circle is."""
    for number in range(11):
        server.answers[f"/{number}"] = redirect(f"/{number + 1}" if number < 10 else "/")
    assert fetch(Fetcher(HERE), f"{server.url}/1").body == b"<p>Hello</p>"
    assert "more than 10 redirects" in refusal(Fetcher(HERE), f"{server.url}/0")
    server.answers["/circle"] = redirect("/circle")
    assert "more than 10 redirects" in refusal(Fetcher(HERE), f"{server.url}/circle")


def test_headers_stay_with_their_origin(server: RawServer) -> None:
    """A redirect to another host, or another port of it, takes no password along."""
    secret = {"Authorization": "Bearer secret", "Cookie": "session=secret"}
    with serve_raw({"/": answer(b"other")}) as other:
        server.answers["/away"] = redirect(f"{other.url}/")
        server.answers["/back"] = redirect("/")
        fetcher = Fetcher(HERE, headers={server.url: secret})
        fetch(fetcher, f"{server.url}/away")
        assert server.headers()["authorization"] == "Bearer secret"
        assert "secret" not in other.heads[0]
        fetch(fetcher, f"{server.url}/back")
        assert server.headers()["cookie"] == "session=secret"


def test_no_cookie_is_kept(server: RawServer) -> None:
    """Two hosts behind one address would share it."""
    server.answers["/set"] = answer(status="302 Found", location="/", set_cookie="a=b")
    fetch(Fetcher(HERE), f"{server.url}/set")
    assert "cookie" not in server.headers()


def test_proxies_of_the_environment_are_not_used(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would resolve the name again."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(Fetcher(HERE), server.url).body == b"<p>Hello</p>"


def _endless(head: bytes, part: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield part


@pytest.mark.parametrize("framing", ["chunked", "until it closes", "a length that lies"])
def test_an_endless_body_is_cut_off(server: RawServer, framing: str) -> None:
    """Reading stops at the limit, and the connection is closed."""
    part = b"x" * 10_000
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    heads = {
        "chunked": (CHUNKED, b"2710\r\n" + part + b"\r\n"),
        "until it closes": (plain + b"\r\n", part),
        "a length that lies": (plain + b"Content-Length: 99999999999\r\n\r\n", part),
    }
    server.answers["/endless"] = lambda: _endless(*heads[framing])
    assert "is larger than" in refusal(Fetcher(HERE), f"{server.url}/endless")
    assert server.gone.wait(20)


def test_an_endless_head_is_cut_off(server: RawServer) -> None:
    """Header fields have a limit too."""
    server.answers["/endless"] = lambda: _endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1000 + b"\r\n")
    assert "cannot be fetched" in refusal(Fetcher(HERE), f"{server.url}/endless")


def test_gzip_is_read(server: RawServer) -> None:
    """It is the one encoding that is asked for."""
    server.answers["/z"] = answer(
        gzip.compress(b"hello" * 1000), content_encoding="gzip", content_type="text/plain"
    )
    assert fetch(Fetcher(HERE), f"{server.url}/z").body == b"hello" * 1000


@pytest.mark.parametrize("layers", [1, 2])
def test_a_gzip_bomb_does_not_go_off(server: RawServer, layers: int) -> None:
    """The limit is on what comes out; a bomb in a bomb stays packed."""
    bomb = gzip.compress(bytes(50_000_000))
    for _ in range(layers - 1):
        bomb = gzip.compress(bomb)
    server.answers["/bomb"] = answer(bomb, content_encoding="gzip", content_type="text/plain")
    if layers == 1:
        assert "is larger than" in refusal(Fetcher(HERE), f"{server.url}/bomb")
    else:
        assert len(fetch(Fetcher(HERE), f"{server.url}/bomb").body) < 100_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-4]),
        ("gzip", b""),
        ("gzip, gzip", gzip.compress(gzip.compress(b"hello", mtime=0), mtime=0)),
        ("deflate", zlib.compress(b"hello")),
        ("br", b"hello"),
        ("zstd", b"hello"),
    ],
)
def test_other_encodings_and_damage_are_answered(server: RawServer, encoding: str, body: bytes) -> None:
    """Nothing half-read passes as a page."""
    server.answers["/z"] = answer(body, content_encoding=encoding, content_type="text/plain")
    message = refusal(Fetcher(HERE), f"{server.url}/z")
    assert "is damaged" in message or "was not asked for" in message


def test_empty_gzip_blocks_do_not_last_for_ever(server: RawServer) -> None:
    """What is received counts too, not only what comes out of it."""
    packer = zlib.compressobj(wbits=31)
    block = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n" + block
    server.answers["/empty"] = lambda: _endless(head, b"\x00\x00\x00\xff\xff" * 1000)
    assert "is larger than" in refusal(Fetcher(HERE), f"{server.url}/empty")


def test_a_slow_drip_ends_with_the_time(server: RawServer) -> None:
    """A byte now and then is never idle for long, and yet comes to an end."""
    stop = threading.Event()

    def drip() -> Iterator[bytes]:
        yield CHUNKED
        while not stop.wait(0.01):
            yield b"1\r\nx\r\n"

    server.answers["/drip"] = drip
    try:
        policy = replace(HERE, seconds=0.5)
        assert (
            refusal(Fetcher(policy), f"{server.url}/drip")
            == f"{server.url}/drip took longer than 0.5 seconds."
        )
    finally:
        stop.set()


def test_silence_ends_with_the_idle_time(server: RawServer) -> None:
    """Before the head and in the body."""
    stop = threading.Event()

    def silent(head: bytes) -> Iterator[bytes]:
        yield head
        stop.wait()
        yield b""

    server.answers["/silent"] = lambda: silent(b"")
    server.answers["/halting"] = lambda: silent(CHUNKED)
    try:
        for path in ("/silent", "/halting"):
            fetcher = Fetcher(replace(HERE, idle_seconds=0.2))
            assert refusal(fetcher, server.url + path) == f"{server.url}{path} cannot be fetched: ReadTimeout"
    finally:
        stop.set()


def test_what_is_no_text_is_not_read(server: RawServer) -> None:
    """Not a byte of it."""
    server.answers["/video"] = lambda: _endless(
        b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n", b"x" * 1000
    )
    assert (
        refusal(Fetcher(HERE), f"{server.url}/video")
        == f"{server.url}/video is video/mp4, which cannot be shown as text."
    )
    assert server.gone.wait(20)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [(b"%PDF-1.7", "application/pdf"), (b" \n<html>", "text/html"), (b"x <", "text/plain")],
)
def test_an_undeclared_type_is_guessed(server: RawServer, body: bytes, media_type: str) -> None:
    """From how the document begins."""
    server.answers["/x"] = answer(body)
    assert fetch(Fetcher(HERE), f"{server.url}/x").media_type == media_type


def test_an_error_status_is_told(server: RawServer) -> None:
    """Its body is not taken for the page; a redirect that leads nowhere is one too."""
    server.answers["/gone"] = answer(b"a page", status="410 Gone")
    server.answers["/nowhere"] = answer(status="302 Found")
    assert refusal(Fetcher(HERE), f"{server.url}/gone") == f"{server.url}/gone answered with status 410."
    assert "status 302" in refusal(Fetcher(HERE), f"{server.url}/nowhere")


@pytest.mark.parametrize(
    "words",
    [b"no HTTP at all\r\n\r\n", b"", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\n\x00: x\r\n\r\n"],
)
def test_what_is_no_answer_is_told(server: RawServer, words: bytes) -> None:
    """In one line."""
    server.answers["/x"] = words
    assert "\n" not in refusal(Fetcher(HERE), f"{server.url}/x")


def test_tls_asks_for_the_name_and_checks_it() -> None:
    """The address is pinned, the certificate is that of the host."""
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with serve_raw({"/": answer(b"safe")}, tls=True) as server:
        resolver = names(pinned="127.0.0.1", other="127.0.0.1")
        fetcher = Fetcher(HERE, resolver=resolver, ssl_context=trusting)
        assert fetch(fetcher, f"https://pinned.test:{server.port}/").body == b"safe"
        assert server.names == ["pinned.test"]
        assert server.headers()["host"] == f"pinned.test:{server.port}"
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(fetcher, f"https://other.test:{server.port}/")
        untrusting = Fetcher(HERE, resolver=resolver)
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(untrusting, f"https://pinned.test:{server.port}/")
        assert len(server.heads) == 1


def test_an_address_without_a_scheme_is_https() -> None:
    """As a reader would type it."""
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with serve_raw({"/x": answer(b"safe")}, tls=True) as server:
        fetcher = Fetcher(HERE, resolver=names(pinned="127.0.0.1"), ssl_context=trusting)
        assert fetch(fetcher, f"pinned.test:{server.port}/x").url == f"https://pinned.test:{server.port}/x"
