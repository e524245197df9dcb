"""The public surface of harmony.tools."""

import subprocess
import sys

import pytest

import harmony.tools


def test_every_public_name_is_there() -> None:
    """What __all__ lists can be imported, and dir() shows it."""
    for name in harmony.tools.__all__:
        assert getattr(harmony.tools, name) is not None
    assert set(harmony.tools.__all__) <= set(dir(harmony.tools))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Phyton'"):
        _ = harmony.tools.Phyton


def test_importing_loads_no_tool() -> None:
    """`import harmony.tools` costs no pydantic and no subprocess."""
    code = "import sys, harmony.tools; print({'pydantic', 'jsonschema', 'subprocess'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_the_browser_asks_for_its_extra() -> None:
    """Without lxml and pypdf the error says what to install; the rest of the tools does not need them."""
    code = """
import sys
sys.modules |= {"lxml": None, "pypdf": None}
from harmony.tools import Python, ToolError
try:
    from harmony.tools import Browser
except ToolError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "the browser needs lxml and pypdf: pip install 'gpt-oss-harmony[browser]'\n"
