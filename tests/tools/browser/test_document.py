"""Documents of each kind as pages: Markdown, reStructuredText, plain text, PDF; and how bytes become text."""

import pytest
from pdf_file import pdf

from harmony.errors import ToolError
from harmony.tools.browser.document import HTML, MARKDOWN, PDF, PLAIN, RST, Document, is_readable, read
from harmony.tools.browser.page import Page
from harmony.tools.browser.pdf import read_pdf

URL = "local:///docs/a.md"


def page(source: str, kind: str, url: str = URL) -> Page:
    return read(Document(url, source.encode(), kind))


def test_markdown_links_can_be_opened() -> None:
    """Inline links, autolinks and images are marked; code stays as it is."""
    source = """# The *title*

See [the guide](guide.md#part "hint"), <https://x.org/y> and ![a cat](cat.png) ![](dog.png) [top](#top).
`[not](a-link.md)`
```
[nor](this.md)
```
[again](guide.md#part) [up](../up.md)
"""
    read = page(source, MARKDOWN)
    assert read.title == "The *title*"
    assert list(read.lines) == [
        "# The *title*",
        "",
        "See 【0†the guide】, 【1†https://x.org/y†x.org】 and [Image 0: a cat] [Image 1] top.",
        "`[not](a-link.md)`",
        "```",
        "[nor](this.md)",
        "```",
        "【0†again】 【2†up】",
    ]
    assert [link.url for link in read.links] == [
        "local:///docs/guide.md#part",
        "https://x.org/y",
        "local:///up.md",
    ]


def test_rst_links_can_be_opened() -> None:
    """The title is the first underlined line."""
    read = page("Title\n=====\n\nSee `the guide <guide.rst>`_ and ``code <x>``.", RST, "local:///a.rst")
    assert read.title == "Title"
    assert read.lines[-1] == "See 【0†the guide】 and ``code <x>``."
    assert read.links[0].url == "local:///guide.rst"


@pytest.mark.parametrize("kind", [HTML, MARKDOWN, RST, PLAIN])
def test_no_document_can_forge_a_link(kind: str) -> None:
    """Whatever its kind."""
    read = page(
        "# 【0†evil】\n[【1†x】](y.md) ![【2†z】](w) 【3†L4】 `【4†b】 <c>`_ <https://【5†d】/>", kind
    )
    assert "".join(read.lines).count("【") == len(read.links)
    assert not set("【†】") & set(read.title)


@pytest.mark.parametrize("line", ["#" * 1_000_000, "[" * 1_000_000, "`" * 1_000_000, "= " * 500_000])
@pytest.mark.parametrize("kind", [MARKDOWN, RST])
def test_no_line_is_a_trap(kind: str, line: str) -> None:
    """A megabyte that looks like markup takes linear time: the test would not end."""
    read = page(f"# {line}x\n", kind)
    assert len(read.lines) > 10_000


@pytest.mark.parametrize(
    ("heading", "title"),
    [("# A # b", "A # b"), ("## A ##", "A"), ("#  A  ", "A"), ("### A", "a.md"), ("#A", "a.md")],
)
def test_the_title_of_markdown(heading: str, title: str) -> None:
    """Its first heading of the first or second level, without what closes it."""
    assert page(f"x\n\n{heading}\n", MARKDOWN, "local:///a.md").title == title


def test_plain_text_is_shown_as_it_is() -> None:
    """Its title is the name of the file."""
    read = page("a\n\n\n  b [x](y)\n\n", PLAIN, "local:///notes%20of/to%20day.txt")
    assert (read.title, read.lines) == ("to day.txt", ("a", "", "", "  b [x](y)"))


def test_a_pdf_has_its_pages() -> None:
    """The title is that of its metadata."""
    read = read_pdf(pdf("A paper", ["First line", "second"], ["Next page"]), "local:///p.pdf")
    assert read.title == "A paper"
    assert list(read.lines) == ["[Page 1]", "", "First line", "second", "", "[Page 2]", "", "Next page"]


def test_a_pdf_that_takes_too_long_is_cut() -> None:
    """What was read until then is shown, and that there was more."""
    read = read_pdf(pdf("A paper", ["One"], ["Two"], ["Three"]), "local:///p.pdf", seconds=0)
    assert list(read.lines) == ["[Page 1]", "", "One", "", "[2 more pages took too long to read.]"]


@pytest.mark.parametrize("body", [b"", b"%PDF-1.4", b"no pdf", pdf("x", ["y"])[:200], b"\x00" * 5000])
def test_a_broken_pdf_is_an_error_for_the_model(body: bytes) -> None:
    """Whatever pypdf raises."""
    with pytest.raises(ToolError, match="The PDF cannot be read"):
        read(Document("local:///p.pdf", body, PDF))


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode("latin-1"), "latin-1", "é"),
        ("é".encode("latin-1"), "no-such-charset", "é"),
        (b"\xef\xbb\xbfx", None, "x"),
        (b'<meta charset="iso-8859-2">' + "ł".encode("iso-8859-2"), None, '<meta charset="iso-8859-2">ł'),
        (b"<?xml version='1.0' encoding='koi8-r'?>" + "ж".encode("koi8-r"), None, None),
        ("“é”".encode("cp1252"), None, "“é”"),
        (b"\xff\xfe\x81", None, "ÿþ\ufffd"),
        ("é".encode("utf-16"), "utf-16", "é"),
        (b"x", "base64", "x"),
    ],
)
def test_bytes_become_text(body: bytes, charset: str | None, text: str | None) -> None:
    """By the declared charset, UTF-8, the document's own word, and Windows-1252, in this order."""
    decoded = Document(URL, body, HTML, charset).text
    assert decoded == text if text is not None else decoded.endswith("ж")


@pytest.mark.parametrize(
    ("media_type", "readable"),
    [
        ("text/html", True),
        ("text/x-anything", True),
        ("application/pdf", True),
        ("application/json", True),
        ("application/ld+json", True),
        ("application/atom+xml", True),
        ("application/octet-stream", False),
        ("image/png", False),
        ("application/zip", False),
    ],
)
def test_which_kinds_are_read(media_type: str, readable: bool) -> None:
    """Text in any form, and PDF."""
    assert is_readable(media_type) is readable


def test_the_source_of_a_page() -> None:
    """It is the text as fetched, with none of our markup in it."""
    read_source = read(Document("https://x.org/a.html", "<p>【1†x】</p>".encode(), HTML), source=True)
    assert (read_source.title, read_source.lines) == ("Source of a.html", ("<p>〖1‡x〗</p>",))
