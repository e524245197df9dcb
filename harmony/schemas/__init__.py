"""JSON schemas: made enforceable while decoding, checked, and turned into types."""

from harmony.schemas.enforcement import EnforcedSchema, enforce
from harmony.schemas.node import Residual
from harmony.schemas.openai_subset import Breach, first_breach
from harmony.schemas.output_type import OutputType, output_type
from harmony.schemas.veto import Veto, Violation

__all__ = [
    "Breach",
    "EnforcedSchema",
    "OutputType",
    "Residual",
    "Veto",
    "Violation",
    "enforce",
    "first_breach",
    "output_type",
]
