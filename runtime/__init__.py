"""Tokens in, tokens out: configuration, checkpoint, model, cache, sampling and engines.

Importing this package loads no torch; what needs it does so when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.runtime.checkpoint import Checkpoint
    from harmony.runtime.config import ModelConfig
    from harmony.runtime.engine import Engine
    from harmony.runtime.export import save_checkpoint
    from harmony.runtime.generation import (
        FinishReason,
        GeneratedToken,
        SamplingParams,
        TokenEngine,
        TokenLogprob,
    )
    from harmony.runtime.model import Transformer
    from harmony.runtime.models import load_engine
    from harmony.runtime.remote import RemoteEngine

__all__ = [
    "Checkpoint",
    "Engine",
    "FinishReason",
    "GeneratedToken",
    "ModelConfig",
    "RemoteEngine",
    "SamplingParams",
    "TokenEngine",
    "TokenLogprob",
    "Transformer",
    "load_engine",
    "save_checkpoint",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "Engine": "engine",
    "FinishReason": "generation",
    "GeneratedToken": "generation",
    "ModelConfig": "config",
    "RemoteEngine": "remote",
    "SamplingParams": "generation",
    "TokenEngine": "generation",
    "TokenLogprob": "generation",
    "Transformer": "model",
    "load_engine": "models",
    "save_checkpoint": "export",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
