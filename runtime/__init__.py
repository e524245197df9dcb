"""Tokens in, tokens out: configuration, checkpoint, model, cache, sampling and engines.

Importing this package loads no torch; what needs it does so when it is first used.
"""

from typing import TYPE_CHECKING

from harmony.lazy import from_homes

if TYPE_CHECKING:
    from harmony.runtime.checkpoint import Checkpoint
    from harmony.runtime.config import ModelConfig
    from harmony.runtime.constraint import Constraint, Interruption, fill_masks
    from harmony.runtime.engine import Engine
    from harmony.runtime.export import save_checkpoint
    from harmony.runtime.generation import (
        FinishReason,
        GeneratedToken,
        SamplingParams,
        TokenEngine,
        TokenLogprob,
    )
    from harmony.runtime.grammars import Grammars
    from harmony.runtime.masking import mask_logits
    from harmony.runtime.model import Transformer
    from harmony.runtime.models import load_engine
    from harmony.runtime.remote import RemoteEngine
    from harmony.runtime.token_table import TokenTable

__all__ = [
    "Checkpoint",
    "Constraint",
    "Engine",
    "FinishReason",
    "GeneratedToken",
    "Grammars",
    "Interruption",
    "ModelConfig",
    "RemoteEngine",
    "SamplingParams",
    "TokenEngine",
    "TokenLogprob",
    "TokenTable",
    "Transformer",
    "fill_masks",
    "load_engine",
    "mask_logits",
    "save_checkpoint",
]

_HOMES = {
    "Checkpoint": "checkpoint",
    "Constraint": "constraint",
    "Engine": "engine",
    "FinishReason": "generation",
    "GeneratedToken": "generation",
    "Grammars": "grammars",
    "Interruption": "constraint",
    "ModelConfig": "config",
    "RemoteEngine": "remote",
    "SamplingParams": "generation",
    "TokenEngine": "generation",
    "TokenLogprob": "generation",
    "TokenTable": "token_table",
    "Transformer": "model",
    "fill_masks": "constraint",
    "load_engine": "models",
    "mask_logits": "masking",
    "save_checkpoint": "export",
}

__getattr__ = from_homes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
