"""An OpenAI-compatible server: Responses and Chat Completions on one engine.

Needs the extra `server`; `python -m harmony.server` starts it.
"""

from typing import TYPE_CHECKING

from harmony.lazy import from_homes

if TYPE_CHECKING:
    from harmony.server.app import create_app
    from harmony.server.serving import Limits

__all__ = ["Limits", "create_app"]

__getattr__ = from_homes(__name__, {"Limits": "serving", "create_app": "app"})
