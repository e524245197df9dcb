"""An OpenAI-compatible server: Responses and Chat Completions on one engine.

Needs the extra `server`; `python -m harmony.server` starts it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.server.app import create_app
    from harmony.server.serving import Limits

__all__ = ["Limits", "create_app"]


def __getattr__(name: str) -> object:
    if name == "create_app":
        from harmony.server.app import create_app

        return create_app
    if name == "Limits":
        from harmony.server.serving import Limits

        return Limits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
