"""What a docstring says of a function and of its parameters, in the three styles that are common.

    Google                  NumPy                   Sphinx
    Args:                   Parameters              :param city: Its name.
        city (str): Its     ----------              :param int days: How many.
            name.           city : str
                                Its name.

Not covered: anything else in it; sections of results and errors are for people.
"""

import re
from collections.abc import Iterator

_GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters):[ \t]*\n", re.MULTILINE)
_NUMPY = re.compile(r"^Parameters[ \t]*\n-{3,}[ \t]*\n", re.MULTILINE)
_SPHINX = re.compile(r"^:param ", re.MULTILINE)
_GOOGLE_ENTRY = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"(\w+)\s*(?::.*)?()")
_SPHINX_ENTRY = re.compile(r":param (?:[^:]*\s)?(\w+):\s*(.*)")
_SECTION_END = re.compile(r"\S.*\n-{3,}")


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph as one line, and the texts of the parameters by name."""
    texts: dict[str, str] = {}
    begin = len(text)
    if google := _GOOGLE.search(text):
        texts = dict(_entries(_indented(text[google.end() :]), _GOOGLE_ENTRY))
        begin = google.start()
    elif numpy := _NUMPY.search(text):
        section = _SECTION_END.split(text[numpy.end() :])[0]
        texts = dict(_entries(section.splitlines(), _NUMPY_ENTRY))
        begin = numpy.start()
    elif sphinx := _SPHINX.search(text):
        texts = dict(_entries(text[sphinx.start() :].splitlines(), _SPHINX_ENTRY))
        begin = sphinx.start()
    return " ".join(text[:begin].split("\n\n", 1)[0].split()), texts


def _indented(section: str) -> Iterator[str]:
    """The lines of a section, as far as it is indented, without its margin."""
    margin = None
    for line in section.splitlines():
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent == 0:
            return
        margin = indent if margin is None else margin
        yield line[min(margin, indent) :]


def _entries(lines: Iterator[str] | list[str], entry: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each entry; what is indented below it belongs to it, and any other line ends it."""
    name, parts = "", []
    for line in lines:
        if not line.strip():
            continue
        if line[0].isspace():
            parts.append(line.strip())
            continue
        if name:
            yield name, " ".join(filter(None, parts))
        match = entry.fullmatch(line.strip())
        name, parts = (match[1], [match[2]]) if match else ("", [])
    if name:
        yield name, " ".join(filter(None, parts))
