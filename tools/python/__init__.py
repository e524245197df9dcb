"""The python tool: a lasting session, as in a notebook, that cannot reach the machine it runs on."""

from harmony.tools.python.backends import BackendName, Limits
from harmony.tools.python.tool import Python

__all__ = ["BackendName", "Limits", "Python"]
