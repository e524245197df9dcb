"""Looks on while a turn is written, and objects to JSON that breaks what its mask does not enforce."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harmony.vocabulary import CALL, CHANNEL, END, MESSAGE, ORDINARY_TOKENS, RETURN, START, token_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harmony.schemas import EnforcedSchema, Veto

_NAME: Final = re.compile(r"to=(\S+)|channel=(final)\b")
ANSWER: Final = "final"
"""What stands for the answer among the recipients of calls."""


@dataclass(frozen=True)
class TurnWatch:
    """A turn as far as it was written; `after` gives it one token later.

    `schemas` are those of its JSON by the recipients of calls, and by ANSWER.
    """

    schemas: Mapping[str, EnforcedSchema]
    header: str | None = ""
    veto: Veto | None = None
    cut: bytes = b""

    def after(self, token: int) -> TurnWatch | None:
        """The turn after one token more, None if it must not come."""
        if token in (END, CALL, RETURN):
            return None if self.veto and self.veto.copy().finish() else replace(self, header=None, veto=None)
        if token == START:
            return replace(self, header="")
        if token == MESSAGE:
            return replace(self, header=None, veto=self._veto())
        if self.header is not None:
            return replace(self, header=self.header + self._text(token))
        return self._after_text(token) if self.veto else self

    def _veto(self) -> Veto | None:
        """What reads the body after this header."""
        found = _NAME.search(self.header or "")
        schema = self.schemas.get(found[1] or found[2]) if found else None
        return schema.veto() if schema else None

    def _after_text(self, token: int) -> TurnWatch | None:
        assert self.veto is not None
        data = self.cut + token_bytes()[token]
        try:
            text, cut = data.decode(), b""
        except UnicodeDecodeError as error:
            text, cut = data[: error.start].decode(), data[error.start :]
        veto = self.veto.copy()
        return None if veto.advance(text) else replace(self, veto=veto, cut=cut)

    def _text(self, token: int) -> str:
        """A part of a header in words."""
        if token < ORDINARY_TOKENS:
            return token_bytes()[token].decode(errors="replace")
        return " channel=" if token == CHANNEL else " "
