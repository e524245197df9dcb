"""Docstrings: the summary and the parameters' texts in Google, NumPy and Sphinx style."""

from hypothesis import given
from hypothesis import strategies as st

from harmony.tools.docstrings import read_docstring

GOOGLE = """The weather
now.

More about it: not read.

Args:
    city: Its English name,
        or that of the country.
    unit (str, optional): c or f: a letter.
    days:
        How many.

Returns:
    sky: not a parameter.
"""
NUMPY = """The weather
now.

Parameters
----------
city : str
    Its English name,
    or that of the country.
unit : {"c", "f"}, optional
    c or f: a letter.
days
    How many.

Returns
-------
sky : str
    Not a parameter.
"""
SPHINX = """The weather
now.

:param city: Its English name,
    or that of the country.
:param str unit: c or f: a letter.
:type city: str
:param days: How many.
:returns: sky
"""
TEXTS = {
    "city": "Its English name, or that of the country.",
    "unit": "c or f: a letter.",
    "days": "How many.",
}


def test_three_styles_say_the_same() -> None:
    """Each style gives one summary and one text for each parameter."""
    for text in (GOOGLE, NUMPY, SPHINX):
        assert read_docstring(text) == ("The weather now.", TEXTS)


def test_a_docstring_without_parameters() -> None:
    """The first paragraph is the summary, whatever follows."""
    assert read_docstring("One\nline.\n\nArgs are not here: really.") == ("One line.", {})
    assert read_docstring("") == ("", {})
    assert read_docstring("Args:\n    a: first") == ("", {"a": "first"})


@given(st.text(":\n -ArgsPametr:p") | st.text())
def test_any_text_is_read(text: str) -> None:
    """No docstring is an error, and the summary is one line."""
    for variant in (text, f"Args:\n{text}", f"Parameters\n---\n{text}", f":param {text}"):
        summary, texts = read_docstring(variant)
        assert "\n" not in summary
        assert all("\n" not in value for value in texts.values())
